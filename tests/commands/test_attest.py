"""`qpipe attest` as its users see it, and through a hub."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from qpipe.errors import UnreachableError
from qpipe.session.attesting.words import in_words_of
from tests.cli import called, qpipe
from tests.commands.test_answers import wrong
from tests.gguf import samples
from tests.hub import COMMIT, serve
from tests.session.attesting import files

STORIES = samples.MODELS["stories260K"]
LICENCE = str(STORIES / "LICENSE.md")
MATRIX = "stories260K.imatrix.gguf"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with files of llama.cpp's, one of which was damaged."""
    folder = tmp_path_factory.mktemp("made")
    whole = files.golden(folder, "stories260K", "Q4_0")
    files.with_byte(whole, "blk.1.ffn_up.weight", at=1)
    files.golden(folder, "stories260K", "Q5_1", imatrix=True)
    (folder / "cut.gguf").write_bytes(whole.read_bytes()[:9000])
    return folder


def test_a_file_that_is_identical(made: Path, tmp_path: Path) -> None:
    words = ("attest", str(made / "stories260K-Q4_0.gguf"), "--source", "builtin:stories260K")
    said = called(*words, cwd=tmp_path)
    assert (said.code, said.stderr) == (0, "")
    assert "stories260K-Q4_0.gguf  identical  47 of 47  F32  none     same" in said.stdout
    assert "It says nothing of the metadata" in said.stdout


def test_bytes_behind_the_last_tensor(made: Path, tmp_path: Path) -> None:
    data = (made / "stories260K-Q4_0.gguf").read_bytes()
    (tmp_path / "more.gguf").write_bytes(data + b"hidden")
    said = called("attest", "more.gguf", "--source", "builtin:stories260K", cwd=tmp_path)
    assert said.code == 0
    assert "more.gguf: 6 bytes are of no tensor, behind the last or between two" in said.stdout


def test_a_ladder_with_damage(made: Path, tmp_path: Path) -> None:
    words = ("attest", str(made), "--source", str(STORIES))
    said = called(*words, cwd=tmp_path, env={"COLUMNS": "80"})
    assert said.code == 4
    lines = said.stdout.splitlines()
    verdicts = {line.split()[0]: " ".join(line.split()[1:3]) for line in lines if ".gguf  " in line}
    assert verdicts == {
        "cut.gguf": "not readable",
        "stories260K-Q4_0-byte.gguf": "DIFFERENT 46",
        "stories260K-Q4_0.gguf": "identical 47",
        "stories260K-Q5_1-i1.gguf": "undecided 17",
    }
    assert any(line.split()[:3] == ["blk.1.ffn_up.weight", "Q4_0", "changed"] for line in lines)
    assert "not comparable without the importance matrix" in " ".join(lines)
    assert max(map(len, lines)) <= 80


def test_the_answer_has_a_form(made: Path, tmp_path: Path) -> None:
    words = ("attest", str(made), "--source", str(STORIES), "--json")
    said = called(*words, cwd=tmp_path)
    answer = json.loads(said.stdout)
    assert wrong(answer, "attest") == []
    assert answer["identical"] is False
    assert {tensor["status"] for tensor in answer["tensors"]} == {
        "identical", "different", "not_comparable",
    }  # fmt: skip
    assert [file["problem"] is None for file in answer["files"]] == [False, True, True, True]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("x.gguf", "--source", "builtin:stories260K"), 2, "x.gguf: no such file"),
        (("x.gguf",), 2, "--source"),
        (("", "--source", "builtin:stories260K"), 1, "'' is no file"),
        (("FILE", "--source", "FILE"), 1, "stories260K-Q4_0.gguf: tensor 'token_embd.weight' is"),
        (("--source", "builtin:stories260K"), 2, "FILE"),
        (("FILE", "--source", "./nowhere"), 2, "./nowhere: no such file or folder"),
        (("FILE", "--source", "a/b@"), 2, "a/b@: no such file or folder"),
        (("FILE", "--source", "builtin:stories260K", "--imatrix", "FILE"), 1, "no importance matr"),
        (("FILE", "--source", "builtin:stories260K", "--imatrix", LICENCE), 1, "it is a text, and"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(
    words: tuple[str, ...], code: int, message: str, made: Path, tmp_path: Path
) -> None:
    file = str(made / "stories260K-Q4_0.gguf")
    said = called("attest", *(file if w == "FILE" else w for w in words), cwd=tmp_path)
    assert said.code == code
    assert message in said.stderr and "qpipe-attest-" not in said.stderr


def test_the_importance_matrix_of_an_export(made: Path, tmp_path: Path) -> None:
    """It lies beside the models under their name, not that which they note."""
    shutil.copy(made / "stories260K-Q5_1-i1.gguf", tmp_path / "stories-v1.0-Q5_1.gguf")
    shutil.copy(samples.imatrix_of("stories260K"), tmp_path / "stories-v1.0-imatrix.gguf")
    words = ("attest", "stories-v1.0-Q5_1.gguf", "--source", str(STORIES))
    assert called(*words, cwd=tmp_path).code == 0
    shutil.copy(samples.imatrix_of("stories260K"), tmp_path / "stories-v1.0-imatrix-2.gguf")
    assert called(*words, cwd=tmp_path).code == 6


def test_a_hub_that_does_not_answer_is_told_in_words_of_options(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    file = str(made / "stories260K-Q4_0.gguf")
    said = called("attest", file, "--source", "a/b", cwd=tmp_path)
    assert said.code == 1
    assert "or give a local folder as --source" in said.stderr
    said = called("attest", "a/b:Q4_0", "--source", "a/b", cwd=tmp_path)
    assert "or give a local folder as FILE" in said.stderr
    assert "model.source" not in said.stderr


def test_words_of_recipes_become_those_of_options() -> None:
    given = {
        "name a file, model.source=a/b/FILE": "name a file, --source a/b/FILE",
        "(its x or y as model.source)": "(its x or y as --source)",
        "correct model.revision (a tag)": "correct the revision behind @ (a tag)",
        "a: a pickle: give safetensors, or set model.allow_pickle=true (…), and …": "a: a pickle: "
        "give safetensors",
        "a pickle: set model.allow_pickle=true (of a repository), and x; or give the same": "a "
        "pickle: give the same",
        "to make one: model.source=a/b quantize.type=Q4_0": "to make one: qpipe run local "
        "model.source=a/b quantize.type=Q4_0",
    }
    for words, expected in given.items():
        with pytest.raises(UnreachableError) as caught, in_words_of("--source"):
            raise UnreachableError(words)
        assert str(caught.value) == expected


@pytest.mark.slow
def test_source_file_and_importance_matrix_from_a_hub(made: Path, tmp_path: Path) -> None:
    repository = tmp_path / "published"
    repository.mkdir()
    shutil.copy(made / "stories260K-Q5_1-i1.gguf", repository / "Q5_1.gguf")
    shutil.copy(samples.imatrix_of("stories260K"), repository / MATRIX)
    env = {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"}
    with serve({"someone/stories": STORIES, "someone/gguf": repository}) as hub:
        said = qpipe(
            "attest", f"someone/gguf@{COMMIT}:Q5_1", "--source", "someone/stories@main",
            "--json", cwd=tmp_path, env={**env, "HF_ENDPOINT": hub.url},
        )  # fmt: skip
    assert said.code == 0, said
    answer = json.loads(said.stdout)
    assert answer["source"]["commit"] == COMMIT
    assert answer["files"][0]["imatrix"]["path"].endswith(MATRIX)
