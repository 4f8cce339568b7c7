"""`qpipe export --to ollama`: a Modelfile for each file, and Ollama's own program where it is.

Ollama itself is in no package registry: what stands in for it is a program of ours that reads
Modelfiles as Ollama's parser does.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

import qpipe
from qpipe.errors import StageError, UsageError
from qpipe.export.ollama.go_prompt import prompt
from qpipe.export.ollama.modelfile import parse
from qpipe.session.export import ExportOptions, ExportResult, export
from tests.export.ollama import program
from tests.export.ollama.families import FAMILIES, UNKNOWN

_MODEL = Path(qpipe.__file__).parent / "data/tinystories-d256"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the store and the run of a model for chats, in two formats."""
    folder = tmp_path_factory.mktemp("ollama")
    source = folder / "Owl-1M-Instruct"
    shutil.copytree(_MODEL, source)
    settings = json.loads((source / "tokenizer_config.json").read_text())
    template = FAMILIES["chatml with a default"].replace("<|im_end|>", "</s>")
    settings |= {"chat_template": template, "add_bos_token": True}
    (source / "tokenizer_config.json").write_text(json.dumps(settings))
    generation = {"temperature": 0.7, "top_k": 20, "repetition_penalty": 1.05, "eos_token_id": [2]}
    (source / "generation_config.json").write_text(json.dumps(generation | {"top_p": 7}))
    (source / "LICENSE").write_text("Do what\x0c you like,\r\nbut keep this.\n")
    session = qpipe.load(
        "local",
        f"model.source={source}",
        "quantize.type=Q8_0,Q4_0",
        "evaluate=none",
        sweep=True,
        store=folder / "store",
        runs=folder / "runs",
    )
    session.run()
    return folder


def exported(made: Path, out: Path, **options: Any) -> ExportResult:
    given = ExportOptions(**options)
    return export(
        ["latest"], "ollama", out, store=made / "store", runs=made / "runs", options=given
    )


def test_one_file(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    result = exported(made, tmp_path / "out", only=["Q8_0"])
    read = parse((tmp_path / "out/Modelfile").read_text())
    (file,) = (tmp_path / "out").glob("*.gguf")
    assert read[0] == ("from", f"./{file.name}")
    assert dict(read[1:3])["system"] == "You are Owl.\n  Be kind."
    assert read[3:6] == [("temperature", "0.7"), ("top_k", "20"), ("repeat_penalty", "1.05")]
    assert ("stop", "</s>") in read
    assert read[-1] == ("license", "Do what you like,\nbut keep this.\n")
    template = dict(read)["template"]
    asked = [{"role": "user", "content": "who?"}]
    assert prompt(template, asked, dict(read)["system"]) == (
        "<|im_start|>system\nYou are Owl.\n  Be kind.</s>\n<|im_start|>user\nwho?</s>\n"
        "<|im_start|>assistant\n"
    )
    assert (tmp_path / "out/template").read_text() == template
    assert (tmp_path / "out/system").read_text() == dict(read)["system"]
    params = json.loads((tmp_path / "out/params").read_text())
    assert params["temperature"] == 0.7
    assert params["top_k"] == 20
    assert "</s>" in params["stop"]
    assert "top_p" not in params  # 7 is none
    assert any("ollama is not on PATH" in note for note in result.notes)
    assert "ollama create" in "".join(result.exported.commands.values())


@pytest.fixture
def ollama(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The log of a program on PATH."""
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin/ollama"
    root = Path(program.__file__).parents[3]
    script.write_text(
        f'#!/bin/sh\nPYTHONPATH="{root}" exec "{sys.executable}" "{program.__file__}" "$@"\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("OLLAMA_LOG", str(tmp_path / "log"))
    return tmp_path / "log"


def test_created_where_ollama_is(made: Path, tmp_path: Path, ollama: Path) -> None:
    result = exported(made, tmp_path / "out", name="MyOwl")
    asked = [json.loads(line) for line in ollama.read_text().splitlines()]
    assert [each["name"] for each in asked] == ["myowl:q8_0", "myowl:q4_0"]
    assert {each["cwd"] for each in asked} == {str(tmp_path / "out")}
    assert {file.name for file in (tmp_path / "out").glob("Modelfile*")} == {
        "Modelfile-Q4_0",
        "Modelfile-Q8_0",
    }
    assert result.exported.commands == {"run it": "ollama run myowl:q8_0"}
    assert all(each["created"] for each in result.exported.more["ollama"])


def test_what_ollama_refuses(made: Path, tmp_path: Path, ollama: Path) -> None:
    with pytest.raises(StageError, match=r"is written, but Ollama did not take Modelfile: .*taken"):
        exported(made, tmp_path / "out", name="refused", only=["Q8_0"])
    assert (tmp_path / "out/Modelfile").is_file()
    assert not ollama.exists()


def test_not_run_where_nobody_wants_it(made: Path, tmp_path: Path, ollama: Path) -> None:
    exported(made, tmp_path / "out", only=["Q8_0"], run=False)
    assert not ollama.exists()


def test_refused_before_anything_is_written(made: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--split-size: Ollama takes"):
        exported(made, tmp_path / "out", split_size=1 << 20)
    checkpoint = next((made / "store/artifacts").glob("*/*/model.safetensors")).parent.name
    with pytest.raises(UsageError, match="this is a checkpoint; quantize with quantize=gguf"):
        export([checkpoint], "ollama", tmp_path / "out", store=made / "store", runs=made / "runs")
    assert not (tmp_path / "out").exists()


def test_no_template_that_says_something_else(made: Path, tmp_path: Path) -> None:
    """Ollama then has the file's own, and its user both prompts."""
    settings = made / "Owl-1M-Instruct/tokenizer_config.json"
    asked = json.loads(settings.read_text()) | {"chat_template": UNKNOWN["last only"]}
    source = tmp_path / "Judge"
    shutil.copytree(_MODEL, source)
    (source / "tokenizer_config.json").write_text(json.dumps(asked))
    session = qpipe.load(
        "local",
        f"model.source={source}",
        "evaluate=none",
        store=tmp_path / "store",
        runs=tmp_path / "runs",
    )
    session.run()
    result = exported(tmp_path, tmp_path / "out", run=False)
    commands = [name for name, _ in parse((tmp_path / "out/Modelfile").read_text())]
    assert "template" not in commands
    assert not (tmp_path / "out/template").exists()
    (note,) = [note for note in result.notes if "no Go template was found" in note]
    assert "differs with two questions:\n  the file's: 'Judge: Kq2user2qK Verdict:'" in note
    assert result.exported.more["ollama"][0]["template"] is False
