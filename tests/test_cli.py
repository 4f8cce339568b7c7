"""The command line as a whole: help, exit codes, JSON errors, and what is imported."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from qpipe import __version__
from qpipe.cli import VERBS
from tests.cli import called, environment, qpipe
from tests.commands.stores import make

HEAVY = {"hydra", "omegaconf", "pydantic", "numpy", "rich", "torch", "gguf", "huggingface_hub"}


def test_help_names_every_verb(tmp_path: Path) -> None:
    answer = called("--help", cwd=tmp_path)
    assert answer.code == 0
    assert answer.stderr == ""
    for verb in VERBS:
        assert f"\n  {verb} " in answer.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str, tmp_path: Path) -> None:
    answer = called(verb, "--help", cwd=tmp_path)
    assert answer.code == 0, answer
    assert answer.stdout.startswith(f"usage: qpipe {verb} ")


def test_version(tmp_path: Path) -> None:
    assert called("--version", cwd=tmp_path).stdout == f"qpipe {__version__}\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "usage: qpipe VERB"),
        (["rnu"], "there is no verb 'rnu'; did you mean 'run'"),
        (["--store", "x", "ls"], "options come after the verb"),
        (["ls", "--jsn"], "there is no option --jsn; did you mean '--json'?"),
        (["ls", "--store"], "expected one argument"),
        (["ls", "extra"], "unrecognized arguments: extra"),
        (["show"], "required: KEY"),
        (["gc"], "gc needs a limit"),
        (["gc", "--max-size", "much"], "--max-size much: this is no size"),
        (["run"], "which recipe?"),
        (["run", "quantize.type=Q8_0"], "the recipe comes first"),
    ],
)
def test_usage_errors(words: Sequence[str], said: str, tmp_path: Path) -> None:
    answer = called(*words, cwd=tmp_path)
    assert answer.code == 2
    assert answer.stdout == ""
    assert said in answer.stderr
    assert "Traceback" not in answer.stderr
    assert list(tmp_path.iterdir()) == [], "nothing was written"


def test_run_without_a_recipe_lists_them(tmp_path: Path) -> None:
    answer = called("run", cwd=tmp_path)
    assert "  demo " in answer.stderr
    assert "  local " in answer.stderr
    assert " config " not in answer.stderr


@pytest.mark.parametrize(
    ("words", "code", "kind"),
    [
        (["gcc", "--json"], 2, "UsageError"),
        (["ls", "--json", "--bad"], 2, "UsageError"),
        (["show", "abc", "--json"], 1, "StoreError"),
        (["report", "nothing", "--json"], 2, "UsageError"),
        (["run", "no-such-recipe", "--json"], 2, "RecipeError"),
        (["inspect", "nowhere.gguf", "--json"], 2, "MissingPathError"),
    ],
)
def test_errors_as_json(words: Sequence[str], code: int, kind: str, tmp_path: Path) -> None:
    answer = called(*words, cwd=tmp_path)
    assert answer.code == code
    error = json.loads(answer.stdout)["error"]
    assert error["type"] == kind
    assert error["message"] in answer.stderr


@pytest.mark.parametrize("words", [["ls", "--json"], ["rnu"], ["show", "--help"]], ids=" ".join)
def test_a_call_says_what_a_process_does(words: Sequence[str], tmp_path: Path) -> None:
    """As most tests ask; the process is left as it was."""
    state = Path.cwd(), dict(os.environ), sys.argv, sys.stdout, sys.stderr, gc.isenabled()
    handler = signal.getsignal(signal.SIGTERM)
    env = {"QPIPE_STORE": str(tmp_path / "store")}
    assert called(*words, cwd=tmp_path, env=env) == qpipe(*words, cwd=tmp_path, env=env)
    assert (Path.cwd(), dict(os.environ), sys.argv, sys.stdout, sys.stderr, gc.isenabled()) == state
    assert signal.getsignal(signal.SIGTERM) is handler
    with pytest.raises(ValueError, match="HF_HOME"):
        called(*words, cwd=tmp_path, env={"HF_HOME": "x"})


@pytest.mark.parametrize(
    "words",
    [["--help"], ["ls"], ["ls", "--json"], ["show", "KEY"], ["gc", "--max-size", "0", "--dry-run"]],
    ids=" ".join,
)
def test_quick_verbs_import_nothing_heavy(words: Sequence[str], tmp_path: Path) -> None:
    key = make(tmp_path / "store", "a")
    given = [key if word == "KEY" else word for word in words]
    if words != ["--help"]:
        given += ["--store", str(tmp_path / "store")]
    program = (
        "import sys; from qpipe.cli import main; code = main(sys.argv[1:]);"
        "print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *given],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert not HEAVY & set(done.stderr.split())
    assert "argparse" in done.stderr.split() or words == ["--help"]


def test_a_reader_that_leaves_is_no_traceback(tmp_path: Path) -> None:
    make(tmp_path / "store", "a")
    process = subprocess.Popen(
        [sys.executable, "-m", "qpipe", "ls", "--store", str(tmp_path / "store")],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 141
    assert "Traceback" not in said
    assert "BrokenPipe" not in said


def test_a_terminal_without_unicode(tmp_path: Path) -> None:
    make(tmp_path / "store", "Δ", facts={"format": "Δ"})
    answer = qpipe(
        "ls", "--store", str(tmp_path / "store"), cwd=tmp_path, env={"PYTHONIOENCODING": "ascii"}
    )
    assert answer.code == 0
    assert "quantize[?]" in answer.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_stop_a_run_and_it_goes_on(number: signal.Signals, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "qpipe", "run", "demo", "evaluate.chunks=20", "--json"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    before = []
    for line in process.stderr:
        before.append(line)
        if line.startswith("start    convert"):
            break
    os.kill(process.pid, number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, (before, err)
    assert json.loads(out)["error"]["type"] == "InterruptedRunError"
    assert "goes on from there" in err
    assert "Traceback" not in err
    listed = json.loads(called("ls", "--json", cwd=tmp_path).stdout)["artifacts"]
    assert {entry["stage"] for entry in listed} == {"download"}
    assert called("verify", cwd=tmp_path).code == 0
