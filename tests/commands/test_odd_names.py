"""Names that no file can have, and what is no file, wherever a command takes one: one message."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qpipe.cli import main
from qpipe.session.run_folder import new_folder, short_name
from tests.cli import called

LONG = "x" * 300
MODEL = Path(__file__).parents[1] / "data" / "models" / "stories260K"


@pytest.mark.parametrize(
    "words",
    [
        ("show", LONG),
        ("show", "a\0b"),
        ("verify", LONG),
        ("pin", LONG),
        ("report", LONG),
        ("unpin", LONG),
        ("inspect", LONG),
        ("inspect", "pipe"),
        ("ls", "--store", LONG),
        ("gc", "--store", LONG, "--max-size", "1"),
        ("report", "latest", "--runs", LONG),
        ("plan", LONG),
        ("plan", f"{LONG}.yaml"),
        ("plan", "pipe.yaml"),
        ("plan", "~nobody-of-this-name/x.yaml"),
        ("plan", "local", f"model.source={LONG}"),
        ("plan", "local", "model.source=pipe"),
        ("plan", "local", f"model.source={MODEL}", f"evaluate.text={LONG}"),
        ("plan", "local", f"model.source={MODEL}", "evaluate.text=pipe"),
        ("plan", "local", f"model.source={MODEL}", "quantize.imatrix=/dev/zero"),
    ],
    ids=lambda words: " ".join(words)[:30],
)
def test_one_message(
    words: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    os.mkfifo("pipe.yaml")
    code = main(words)
    said = capsys.readouterr()
    assert code in (0, 1, 2)
    assert (code == 0) == (words[0] == "gc")
    assert said.err.startswith(("qpipe: ", "there is no store"))
    assert (said.out == "") == (words[0] != "gc")


def test_a_run_of_a_recipe_with_a_long_name(tmp_path: Path) -> None:
    for name in ("y" * 250, "é" * 125, os.fsdecode(b"\xff" * 250)):
        new_folder(tmp_path / f"2026-11-27_14-04-04_{short_name(f'a/{name}.yaml')}")
    assert short_name("recipes/demo.yaml") == "demo"


@pytest.mark.parametrize("verb", ["inspect", "show", "report", "plan"])
def test_a_name_that_is_no_text(verb: str, tmp_path: Path) -> None:
    """Bytes that are no UTF-8 are shown as such."""
    answer = called(verb, os.fsdecode(b"caf\xe9"), cwd=tmp_path)
    assert answer.code in (1, 2)
    assert r"caf\udce9" in answer.stderr and "Traceback" not in answer.stderr
