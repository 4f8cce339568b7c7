"""Tab completion, as the shells ask for it, and in real shells."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from qpipe.cli import VERBS
from tests.cli import called, environment
from tests.commands.stores import make

ROOT = Path(__file__).parents[2]


def offered(line: str, cwd: Path, **env: str) -> list[str]:
    answer = called("-sc", "query=bash", cwd=cwd, env={"COMP_LINE": line, **env})
    assert answer.code == 0, answer.stderr
    return answer.stdout.split("\n")[:-1]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("qpipe ", [*VERBS]),
        ("qpipe r", ["run", "rm", "runs", "report", "reference", "repro"]),
        ("qpipe repro qwen2-", ["qwen2-gguf-perplexity", "qwen2-quality"]),
        ("qpipe repro --only ", ["sizes", "quality", "speed"]),
        ("qpipe --", ["--help", "--version"]),
        ("qpipe rnu ", []),
        ("qpipe run de", ["demo"]),
        ("qpipe run --js", ["--json"]),
        ("qpipe run demo --ag", ["--again"]),
        ("qpipe plan --store x demo --ke", ["--keep-going"]),
        ("qpipe run demo quantize=gp", ["quantize=gptq"]),
        ("qpipe plan demo -m quantize=gptq,aw", ["quantize=gptq,awq"]),
        ("qpipe run demo evaluate=k", ["evaluate=kld"]),
        ("qpipe run demo imatrix=", ["imatrix=calibrated", "imatrix=none"]),
        ("qpipe run demo quantize.type=Q8", ["quantize.type=Q8_0"]),
        ("qpipe run demo -m quantize.type=Q8_0,IQ4", [
            "quantize.type=Q8_0,IQ4_NL", "quantize.type=Q8_0,IQ4_XS"]),
        ("qpipe run local quantize=bnb quantize.type=n", ["quantize.type=nf4"]),
        ("qpipe graph demo --format ", ["text", "dot", "mermaid"]),
        ("qpipe report x --format h", ["html"]),
        ("qpipe report x -o ", []),
        ("qpipe reference ", ["export", "import", "show", "size"]),
        ("qpipe reference size --ch", ["--chunks"]),
        ("qpipe reference show --ch", []),
        ("qpipe engines ", ["install", "fetch", "remove", "lock"]),
        ("qpipe engines install auto", ["auto-gptq", "autoawq"]),
        ("qpipe settings quantize=ex", ["quantize=exl2"]),
        ("qpipe export latest --to h", ["hf"]),
        ("qpipe export latest --to hf --license llama3.", ["llama3.1", "llama3.2", "llama3.3"]),
        ("qpipe estimate --runtime v", ["vllm"]),
        ("qpipe estimate x --type Q4_K", ["Q4_K_S", "Q4_K_M"]),
        ("qpipe estimate x --gpu H1", ["H100"]),
        ("qpipe estimate llama-3.1", ["llama-3.1-8b"]),
        ("qpipe advise x --runtime o", ["ollama"]),
        ("qpipe advise x --prefer s", ["size", "speed"]),
        ("qpipe run 'de", []),
    ],
)  # fmt: skip
def test_words_are_offered(line: str, words: list[str], tmp_path: Path) -> None:
    assert offered(line, tmp_path) == words


def test_fields_of_a_recipe_are_hydras(tmp_path: Path) -> None:
    assert offered("qpipe plan --store x demo evaluate.n", tmp_path) == ["evaluate.n_ctx="]
    assert offered("qpipe run demo quantize.pu", tmp_path) == ["quantize.pure="]
    assert offered("qpipe run nothing quantize.pu", tmp_path) == []


def test_the_types_are_those_that_there_are(tmp_path: Path) -> None:
    from qpipe.gguf.ftypes import FILE_TYPES

    names = offered("qpipe run demo quantize.type=", tmp_path)
    assert names == [f"quantize.type={name}" for name in FILE_TYPES]


def test_engines_with_an_environment_are_those_that_there_are() -> None:
    from qpipe.session import completions, engines

    assert set(completions.environments()) == set(engines.environments())


def test_config_groups_beside_a_recipe_count(tmp_path: Path) -> None:
    (tmp_path / "quantize").mkdir()
    (tmp_path / "quantize" / "mine.yaml").write_text("")
    (tmp_path / "r.yaml").write_text("defaults: [config, _self_]\n")
    assert offered("qpipe run r.yaml quantize=mi", tmp_path) == ["quantize=mine"]
    assert offered("qpipe run demo quantize=mi", tmp_path) == []


def test_what_store_and_runs_hold(tmp_path: Path) -> None:
    store = tmp_path / "s"
    key = make(store, "a", facts={"format": "Q4_0"})
    run = tmp_path / "outputs" / "runs" / "2026_demo"
    run.mkdir(parents=True)
    (run / "events.jsonl").write_text(
        json.dumps({"event": "RunStarted", "at": 1.0, "nodes": {}}) + "\n"
    )
    for verb in ("show", "verify", "inspect"):
        assert offered(f"qpipe {verb} --store {store} ", tmp_path) == [key[:12]]
    assert offered("qpipe show ", tmp_path, QPIPE_STORE=str(store)) == [key[:12]]
    assert offered(f"qpipe ls --store {store} --stage ", tmp_path) == ["quantize"]
    assert offered(f"qpipe run demo --store {store} --again ", tmp_path) == ["quantize"]
    for verb in ("status", "report", "check", "pin", "unpin"):
        assert offered(f"qpipe {verb} ", tmp_path) == ["latest", "2026_demo"]
    assert offered(f"qpipe rm --store {store} ", tmp_path) == ["latest", "2026_demo", key[:12]]
    assert offered("qpipe run 2026", tmp_path) == ["2026_demo"]
    assert offered("qpipe gc --run la", tmp_path) == ["latest"]


@pytest.mark.parametrize("line", ["qpipe run demo quantize=g", "qpipe show ", "qpipe run --"])
def test_a_shell_does_not_wait_for_imports(line: str, tmp_path: Path) -> None:
    code = (
        "import sys; from qpipe.cli import main; main(['-sc', 'query=bash']);"
        "heavy = {'hydra', 'pydantic', 'omegaconf', 'numpy', 'rich', 'gguf'};"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment({"COMP_LINE": line}),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == "[]\n"


def test_another_shell_is_none(tmp_path: Path) -> None:
    answer = called("-sc", "install=tcsh", cwd=tmp_path)
    assert answer.code == 2
    assert "known: bash, fish, zsh" in answer.stderr


# -- in real shells -------------------------------------------------------------------------------

SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], 'eval "$(qpipe -sc install=bash)"'),
    "zsh": (["zsh", "-f", "-i"], 'eval "$(qpipe -sc install=zsh)"'),
}
DONE = [
    ("qpipe sho\t", "qpipe show "),
    ("qpipe run de\t", "qpipe run demo "),
    ("qpipe run demo quantize=gp\t", "quantize=gptq "),
    ("qpipe run demo quantize.type=Q8_0,IQ4_N\t", "quantize.type=Q8_0,IQ4_NL "),
    ("qpipe run demo quantize.pretok\t", "enizer="),
]


@pytest.fixture
def path(tmp_path: Path) -> str:
    """PATH, with `qpipe` as an installed console script would be in front."""
    script = tmp_path / "bin" / "qpipe"
    script.parent.mkdir()
    script.write_text(
        f"#!{sys.executable}\nimport sys\nfrom qpipe.cli import main\nsys.exit(main())\n"
    )
    script.chmod(0o755)
    return f"{script.parent}{os.pathsep}{os.environ['PATH']}"


class Terminal:
    """A shell at a terminal, in which one types and reads."""

    def __init__(self, command: list[str], cwd: Path, env: dict[str, str]) -> None:
        self.process, self.file = pty.fork()
        if self.process == 0:
            os.chdir(cwd)
            os.execvpe(command[0], command, env)
        self.text = ""

    def type(self, keys: str) -> None:
        os.write(self.file, keys.encode())

    def until(self, words: str, seconds: float = 20.0) -> str:
        """What was printed up to ``words``; fails if they do not come."""
        end = time.monotonic() + seconds
        waiting = select.poll()  # select itself takes no file numbers beyond 1023
        waiting.register(self.file, select.POLLIN)
        while words not in self.text:
            assert time.monotonic() < end, f"{words!r} is not in {self.text!r}"
            if waiting.poll(200):
                self.text += os.read(self.file, 4096).decode(errors="replace")
        before, _, self.text = self.text.partition(words)
        return before + words

    def close(self) -> None:
        os.close(self.file)
        os.waitpid(self.process, 0)


@pytest.fixture(params=SHELLS)
def terminal(request: pytest.FixtureRequest, path: str, tmp_path: Path) -> Iterator[Terminal]:
    command, install = SHELLS[request.param]
    if shutil.which(command[0]) is None:
        pytest.skip(f"there is no {command[0]} here")
    env = {**environment(), "PATH": path, "PS1": "% ", "TERM": "dumb", "HOME": str(tmp_path)}
    shell = Terminal(command, tmp_path, env)
    shell.type(f"{install}; stty -echoctl; echo rea''dy\n")
    shell.until("\nready")
    yield shell
    shell.type("\x15exit\n")
    shell.close()


@pytest.mark.slow
def test_in_a_shell_a_tab_completes_the_word(terminal: Terminal) -> None:
    for keys, shown in DONE:
        terminal.type(keys)
        terminal.until(shown)
        terminal.type("\x15")  # the line is taken back
        terminal.type("echo aga''in\n")
        terminal.until("\nagain")


@pytest.mark.slow
def test_fish_asks_too(path: str, tmp_path: Path) -> None:
    if shutil.which("fish") is None:
        pytest.skip("there is no fish here")
    env = {**environment(), "PATH": path, "HOME": str(tmp_path)}
    program = 'qpipe -sc install=fish | source; complete -C "qpipe run demo quantize=gp"'
    done = subprocess.run(["fish", "-c", program], env=env, capture_output=True, text=True)
    assert done.stdout.split() == ["quantize=gptq"], done.stderr
