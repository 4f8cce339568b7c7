"""Every answer with --json is as answers.schema.json says, and every verb that has one is in it."""

from __future__ import annotations

import argparse
import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from qpipe.cli import VERBS
from qpipe.commands.answers_text import definitions
from qpipe.commands.parser import Parser
from tests.cli import called
from tests.commands.stores import make
from tests.results.validating import faults

MODEL = Path(__file__).parents[2] / "qpipe" / "data" / "tinystories-d256"
RECIPE = ("local", "model.source=builtin:tinystories-d256", "evaluate.chunks=1")
TABLE = Path(__file__).parents[1] / "published" / "tables" / "own.yaml"
# What a verb answers with, where that is not its own name.
OTHERS = {"report": {"comparison", "report"}, "engines": {"engines", "environments"}}
OTHERS |= {"estimate": {"estimate", "how-right"}}
OTHERS |= {"repro": {"repro", "lint"}, "verify": {"verify", "verify-folder", "verify-file"}}


def wrong(document: dict[str, Any], name: str) -> list[str]:
    """Where a document is not as the form says that it names."""
    assert document["schema"].startswith(f"qpipe.{name}/"), document["schema"]
    assert next(iter(document)) == "schema"
    root = {"$defs": definitions()}
    return faults(document, root["$defs"][name], root)


def answer(*words: str, cwd: Path) -> dict[str, Any]:
    said = called(*words, "--json", cwd=cwd)
    found: dict[str, Any] = json.loads(said.stdout)
    return found


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of two levels, one of which fails, in its outputs."""
    folder = tmp_path_factory.mktemp("answers")
    words = ("run", *RECIPE, "-m", "quantize.type=Q8_0,IQ1_S", "--keep-going")
    assert wrong(answer(*words, cwd=folder), "run") == []
    return folder


VERBS_ASKED: Sequence[tuple[str, str]] = (
    ("plan", "plan local model.source=builtin:tinystories-d256 quantize.type=IQ1_S"),
    ("plan", "plan local model.source=builtin:tinystories-d256 -m quantize.type=Q4_0,Q8_0"),
    ("estimate", "estimate llama-3.1-8b --type Q4_K_M --type exl2-4bpw --gpu 8GB"),
    ("estimate", "estimate builtin:tinystories-d256"),
    ("how-right", "estimate --how-right"),
    ("graph", "graph demo"),
    ("explain", "explain local model.source=builtin:tinystories-d256 quantize.type=Q4_0"),
    ("lock", "lock local model.source=builtin:tinystories-d256"),
    ("ls", "ls"),
    ("verify", "verify"),
    ("gc", "gc --max-size 1 --dry-run"),
    ("rm", "rm latest --dry-run"),
    ("reference", "reference size 151,936 --chunks 32"),
    ("pin", "pin latest"),
    ("unpin", "unpin latest"),
    ("runs", "runs"),
    ("status", "status"),
    ("comparison", "report latest"),
    ("report", "report latest -o x.md"),
    ("export", "export latest --to folder --out exported --only Q8_0"),
    ("check", "check latest --max-ppl 5% --only Q8_0"),
    ("inspect", f"inspect {MODEL}"),
    ("settings", "settings gguf"),
    ("engines", "engines"),
    ("doctor", "doctor"),
    ("repro", f"repro {TABLE} --plan"),
    ("repro", f"repro {TABLE} --rows format=Q8_0 --only quality"),
    ("lint", f"repro {TABLE} --lint"),
    ("advise", "advise builtin:tinystories-d256 --ram 8GB"),
    ("error", "show nothing"),
    ("error", "rnu"),
    ("error", "run local model.source=nowhere"),
)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "words"), VERBS_ASKED, ids=[words for _, words in VERBS_ASKED])
def test_an_answer_is_as_its_form_says(name: str, words: str, done: Path) -> None:
    assert wrong(answer(*words.split(" "), cwd=done), name) == []


@pytest.mark.slow
def test_one_artifact_and_its_file(done: Path) -> None:
    listed = answer("ls", cwd=done)["artifacts"]
    key = next(entry["key"] for entry in listed if entry["stage"] == "quantize")
    assert wrong(answer("show", key, cwd=done), "show") == []
    assert wrong(answer("inspect", key, cwd=done), "inspect") == []
    again = answer("plan", *RECIPE, "quantize.type=Q8_0", "--again", "quantize", cwd=done)
    assert wrong(again, "plan") == []


def test_damage_is_told_in_form(tmp_path: Path) -> None:
    key = make(tmp_path / "store", "a")
    file = next((tmp_path / "store").glob("artifacts/*/*/model.gguf"))
    file.chmod(0o644)
    file.write_bytes(b"other")
    document = answer("verify", "--store", str(tmp_path / "store"), cwd=tmp_path)
    assert wrong(document, "verify") == []
    assert [each["key"] for each in document["damaged"]] == [key]
    removed = answer("gc", "--max-size", "0", "--store", str(tmp_path / "store"), cwd=tmp_path)
    assert wrong(removed, "gc") == []


def test_what_qpipe_run_printed_may_be_reported(tmp_path: Path, done: Path) -> None:
    folder = tmp_path / "kept"
    folder.mkdir()
    words = ("run", *RECIPE, "-m", "quantize.type=Q8_0,IQ1_S", "--keep-going")
    (folder / "run.json").write_text(json.dumps(answer(*words, cwd=done)))
    assert called("report", str(folder), cwd=tmp_path).code == 0


def test_every_verb_with_json_has_a_form() -> None:
    described = {n for n, each in definitions().items() if "schema" in each.get("properties", ())}
    named: set[str] = {"error"}
    for verb, (module, _) in VERBS.items():
        parser = Parser(prog=verb, description="")
        importlib.import_module(f"qpipe.commands.{module}").configure(parser, verb)
        if _has_json(parser):
            named |= OTHERS.get(verb, {verb})
    assert named == described


def _has_json(parser: argparse.ArgumentParser) -> bool:
    return any("--json" in action.option_strings for action in parser._actions)


def test_every_field_says_what_it_is() -> None:
    """In words, by its name and kind where that is all, or by a part that does."""
    for name, each in definitions().items():
        assert each["description"], name
        for field, kind in each["properties"].items():
            number = kind.get("type") in ("number", "integer") and "bytes" not in field
            assert "description" in kind or not number, f"{name}.{field}"
