"""`qpipe advise` as its users see it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli import called
from tests.commands.test_answers import wrong

MODEL = "meta-llama/Llama-3.1-8B"
MACHINES = (("--ram", "8GB"), ("--gpu", "24GB"), ("--gpu", "H100"))


@pytest.mark.parametrize("machine", MACHINES, ids=" ".join)
def test_text_fits_a_terminal_and_names_the_best(machine: tuple[str, str], tmp_path: Path) -> None:
    said = called("advise", MODEL, *machine, cwd=tmp_path)
    assert said.code == 0, said.stderr
    lines = said.stdout.splitlines()
    assert max(map(len, lines)) <= 80, max(lines, key=len)
    assert lines[0] == f"{MODEL}, 8.03 billion weights"
    assert "  make it" in lines and "  sources" in lines
    table = next(i for i, line in enumerate(lines) if line.lstrip().startswith("#"))
    best = lines[table + 1].split()[1]
    assert f"1. {best}, made by the engine" in said.stdout


def test_json_is_as_its_form_says(tmp_path: Path) -> None:
    for words in (("--ram", "8GB"), ("--gpu", "H100", "--runtime", "vllm"), ("--ram", "3GB")):
        answer = json.loads(called("advise", MODEL, *words, "--json", cwd=tmp_path).stdout)
        assert wrong(answer, "advise") == []
        for row in answer["rows"]:
            assert {"format", "engine", "why", "command"} <= row.keys()


def test_nothing_fits_in_words(tmp_path: Path) -> None:
    said = called("advise", "meta-llama/Llama-3.1-70B", "--ram", "8GB", cwd=tmp_path)
    assert said.code == 0
    words = " ".join(said.stdout.split())
    assert "Nothing fits. The smallest, IQ2_M in llama.cpp, takes 25" in words
    assert "are lacking." in words and "which is not enough" in words


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "MODEL is missing"),
        ((MODEL, "--gpu", "potato"), "--gpu potato"),
        ((MODEL, "--gpu", "H100", "--offline-cpu"), "--offline-cpu and --gpu H100"),
    ],
)
def test_bad_input(words: tuple[str, ...], message: str, tmp_path: Path) -> None:
    said = called("advise", *words, cwd=tmp_path)
    assert said.code == 2 and message in said.stderr
    assert "Traceback" not in said.stderr


def test_pages_are_written(tmp_path: Path) -> None:
    said = called("advise", "--pages", str(tmp_path), cwd=tmp_path)
    assert said.code == 0, said.stderr
    assert {path.name for path in tmp_path.iterdir()} >= {"choosing.md", "choosing.zh.md"}
