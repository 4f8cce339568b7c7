"""settings: in the terminal, as JSON, and as the pages of docs/reference."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

import pytest

from qpipe.cli import main
from qpipe.recipe import settings

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def test_the_reference_is_what_the_parameters_say(tmp_path: Path) -> None:
    assert main(["settings", "-o", str(tmp_path)]) == 0
    written = {path.name: path.read_text() for path in tmp_path.iterdir()}
    kept = {path.name: path.read_text() for path in REFERENCE.iterdir()}
    assert written == kept, "docs/reference is not what the parameters say: make reference"


@pytest.fixture
def gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    """All settings, read once however often a test asks for them."""
    monkeypatch.setattr(settings, "groups", cache(settings.groups))


def test_tables_fit_a_terminal(capsys: pytest.CaptureFixture[str], gathered: None) -> None:
    for group in (None, "recipe", "model", "quantize", "evaluate", "stage"):
        assert main(["settings", *([group] if group else [])]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) > 5
        assert max(map(len, lines)) <= 100


def test_a_choice_is_found_by_either_name(
    capsys: pytest.CaptureFixture[str], gathered: None
) -> None:
    main(["settings", "gptq"])
    short = capsys.readouterr().out
    main(["settings", "quantize=gptq"])
    assert capsys.readouterr().out == short
    assert short.startswith("quantize=gptq: GPTQ.\n")
    assert re.search(r"quantize.damp_percent +0.05", short)


def test_one_setting_wherever_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    main(["settings", "evaluate.precision"])
    out = capsys.readouterr().out
    assert out.startswith("evaluate=kld: ")
    assert out.count("evaluate.") == 1


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    main(["settings", "run", "--json"])
    document = json.loads(capsys.readouterr().out)
    (group,) = document["groups"]
    assert group["name"] == "run"
    assert {"name": "run.objective", "default": "ppl"}.items() <= group["settings"][-1].items()


def test_a_name_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settings", "quantise"]) == 2
    assert "did you mean 'quantize'" in capsys.readouterr().err


def test_a_folder_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settings", "-o", str(tmp_path / "no")]) == 1
    assert "no: cannot be written to" in capsys.readouterr().err
