"""llama-quantize as an engine: refused where it is not, the same tensors where it is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from qpipe.engines.llama_quantize import PROGRAM, LlamaQuantizeParams
from qpipe.gguf import reader, values
from tests.cli import qpipe
from tests.gguf import samples

installed = pytest.mark.skipif(shutil.which(PROGRAM) is None, reason=f"{PROGRAM} is not on PATH")


def run(cwd: Path, *overrides: str, model: str = "tinystories-d256", code: int = 0) -> Any:
    source = f"model.source={samples.MODELS[model]}"
    answer = qpipe("run", "local", source, "evaluate=none", *overrides, "--json", cwd=cwd)
    assert answer.code == code, answer
    return json.loads(answer.stdout)


def files(found: Any) -> list[reader.GGUFFile]:
    quantized = [node for node in found["nodes"] if node["stage"] == "quantize"]
    return [reader.read(next(Path(node["artifact"]).glob("*.gguf"))) for node in quantized]


@pytest.mark.skipif(shutil.which(PROGRAM) is not None, reason=f"{PROGRAM} is on PATH")
def test_refused_where_it_is_not(tmp_path: Path) -> None:
    found = run(tmp_path, "quantize.engine=llama.cpp", code=3)
    (node,) = (node for node in found["nodes"] if node["stage"] == "quantize")
    assert node["status"] == "failed"
    assert "llama-quantize is not on PATH: build llama.cpp or install" in found["rows"][-1]["error"]


def test_an_unknown_engine_is_named(tmp_path: Path) -> None:
    answer = qpipe("run", "local", "model.source=.", "quantize.engine=lama.cpp", cwd=tmp_path)
    assert answer.code == 2
    assert "there is no engine 'lama.cpp'; did you mean 'llama.cpp'?" in answer.stderr


def test_rules_that_it_would_not_hear() -> None:
    with pytest.raises(ValidationError, match="does not hear of them for type F16"):
        LlamaQuantizeParams(type="f16", tensor_types={"attn_v": "Q8_0"})
    LlamaQuantizeParams(type="q8_0", tensor_types={"attn_v": "F16"})


@installed
@pytest.mark.slow
@pytest.mark.parametrize("model", ["tinystories-d256", "stories260K"])
def test_the_same_tensors(model: str, tmp_path: Path) -> None:
    wishes = (
        "quantize.tensor_types=[[attn_v, Q8_0], ['blk.[01].*(v|down)', Q5_0]]",
        f"quantize.imatrix={samples.imatrix_of(model)}",
        "quantize.token_embedding_type=Q6_K" if model != "stories260K" else "quantize.pure=true",
    )
    native, theirs = (
        files(run(tmp_path, f"quantize.engine={engine}", "-m", "quantize.type=Q4_K_M,Q2_K,IQ4_XS",
                  *wishes, model=model))
        for engine in ("native", "llama.cpp")
    )  # fmt: skip
    for ours, other in zip(native, theirs, strict=True):
        assert ours.tensors.keys() == other.tensors.keys()
        for name, tensor in ours.tensors.items():
            assert tensor.type == other.tensors[name].type
            assert (ours.data(tensor) == other.data(other.tensors[name])).all(), name


@installed
def test_it_notes_what_the_native_engine_notes(tmp_path: Path) -> None:
    imatrix = f"quantize.imatrix={samples.imatrix_of('tinystories-d256')}"
    (ours,), (other,) = (
        files(run(tmp_path, f"quantize.engine={engine}", "quantize.type=Q5_0", imatrix))
        for engine in ("native", "llama.cpp")
    )
    mine, its = (values.decoded(file.metadata) for file in (ours, other))
    differing = {name for name in mine.keys() | its.keys() if mine.get(name) != its.get(name)}
    assert differing == {"qpipe.key", "qpipe.tools"}
    assert str(its["qpipe.tools"]).startswith("llama.cpp ")
