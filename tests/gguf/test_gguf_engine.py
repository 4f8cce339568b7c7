"""The engine's parameters through the real command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from qpipe import __version__
from qpipe.core.manifest import Manifest
from qpipe.engines.gguf import NativeParams
from qpipe.gguf import reader, values
from qpipe.stages.base import installed
from tests.cli import Answer, called
from tests.gguf import samples

pytestmark = pytest.mark.slow


def quantized(cwd: Path, *overrides: str) -> Answer:
    source = f"model.source={samples.MODELS['tinystories-d256']}"
    made_here = ("~evaluate", "executor=inline")
    return called("run", "local", source, *made_here, *overrides, "--json", cwd=cwd)


def document(answer: Answer) -> dict[str, Any]:
    assert answer.code == 0, answer
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


def file_of(found: dict[str, Any]) -> Path:
    (node,) = (node for node in found["nodes"] if node["stage"] == "quantize")
    (path,) = Path(node["artifact"]).glob("*.gguf")
    return path


def status(found: dict[str, Any]) -> dict[str, str]:
    return {node["stage"]: node["status"] for node in found["nodes"]}


def test_an_importance_matrix_is_an_input(tmp_path: Path) -> None:
    matrix = tmp_path / "here.imatrix.gguf"
    matrix.write_bytes(samples.imatrix_of("tinystories-d256").read_bytes())
    found = document(quantized(tmp_path, "quantize.type=Q4_K_S", f"quantize.imatrix={matrix}"))
    rows = samples.golden_rows("tinystories-d256", "Q4_K_S", again=True, imatrix="imatrix")
    assert sorted(samples.rows_of(file_of(found))) == sorted(rows)
    noted = values.decoded(reader.read(file_of(found)).metadata)
    assert noted["quantize.imatrix.file"] == "here.imatrix.gguf"
    assert noted["quantize.imatrix.dataset"] == "tinystories_lower_heldout.txt"
    # The same matrix in another folder is the same input; without one it is another key.
    moved = tmp_path / "there" / matrix.name
    moved.parent.mkdir()
    matrix.rename(moved)
    again = document(quantized(tmp_path, "quantize.type=Q4_K_S", f"quantize.imatrix={moved}"))
    assert status(again)["quantize"] == "cached"
    without = document(quantized(tmp_path, "quantize.type=Q4_K_S"))
    assert status(without)["quantize"] == "ran"
    assert samples.rows_of(file_of(without)) != samples.rows_of(file_of(found))


def test_types_of_output_and_embeddings(tmp_path: Path) -> None:
    wishes = ("quantize.type=q4_k", "quantize.pure=true", "quantize.token_embedding_type=q8_0")
    file = reader.read(file_of(document(quantized(tmp_path, *wishes))))
    kinds = {name: tensor.type.name for name, tensor in file.tensors.items()}
    assert kinds.pop("token_embd.weight") == "Q8_0"
    assert set(kinds.values()) == {"F32", "Q4_K"}
    assert file.file_type == "Q4_K_M"


def test_what_cannot_be_done_is_said(tmp_path: Path) -> None:
    answer = quantized(tmp_path, "quantize.type=IQ2_XXS")
    assert answer.code == 2, answer  # before anything runs
    assert "without an importance matrix: name one as quantize.imatrix" in answer.stderr
    answer = quantized(tmp_path, "quantize.output_tensor_type=Q4_K_M")
    assert answer.code == 2, answer
    assert "'Q4_K_M' is no ggml tensor type; did you mean" in answer.stderr


def test_parameters() -> None:
    params = NativeParams(type="q5_k", tensor_types=[["ffn", "Q8_0"]])  # type: ignore[arg-type]
    assert params.type == "Q5_K_M"
    assert params.type_request().ftype.name == "Q5_K_M"
    assert params.model_dump(mode="json")["tensor_types"] == [["ffn", "Q8_0"]]
    with pytest.raises(ValidationError, match="'Q4_K_M' is no ggml tensor type"):
        NativeParams(type="Q8_0", token_embedding_type="Q4_K_M")


def test_the_file_says_what_it_was_made_of(tmp_path: Path) -> None:
    found = document(quantized(tmp_path, "quantize.type=Q4_0"))
    (node,) = (node for node in found["nodes"] if node["stage"] == "quantize")
    (download,) = (node for node in found["nodes"] if node["stage"] == "download")
    metadata = values.decoded(reader.read(file_of(found)).metadata)
    noted = {name: value for name, value in metadata.items() if name.startswith("qpipe.")}
    assert noted["qpipe.key"] == node["key"]
    assert noted["qpipe.version"] == __version__
    digest = Manifest.load(Path(download["artifact"])).digest
    assert noted["qpipe.source"] == f"local:{digest}"
    assert f"xllamacpp {installed('xllamacpp')}" in str(noted["qpipe.tools"])
    assert len(noted) == 4

    silent = document(quantized(tmp_path, "quantize.type=Q4_0", "quantize.provenance=false"))
    file = reader.read(file_of(silent))
    assert not [name for name in file.metadata if name.startswith("qpipe.")]
    assert samples.rows_of(file_of(silent)) == samples.rows_of(file_of(found))


def test_the_half_precision_file_is_the_reference_itself(tmp_path: Path) -> None:
    """A file that needs no quantization says nothing of it, so it is measured only once."""
    source = f"model.source={samples.MODELS['tinystories-d256']}"
    short = ("evaluate.n_ctx=64", "evaluate.chunks=2", "executor=inline")
    answer = called("run", "local", source, "quantize.type=F16", *short, "--json", cwd=tmp_path)
    found = document(answer)
    assert len(found["rows"]) == 1
    assert sorted(n["status"] for n in found["nodes"] if n["stage"] == "evaluate") == [
        "cached",
        "ran",
    ]
