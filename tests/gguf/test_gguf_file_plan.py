"""Types and exact sizes before anything runs, against the files that llama.cpp's names give."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from qpipe import errors
from qpipe.gguf import convert, reader
from qpipe.gguf.file_plan import FilePlan
from qpipe.gguf.mixture import TypeRequest
from qpipe.gguf.quantize import prepare, quantize
from tests.gguf import samples

Gguf = Callable[[str, str], Path]


def checkpoint(model: str, outtype: str) -> FilePlan:
    return convert.prepare(samples.MODELS[model], outtype=outtype)


@pytest.fixture
def without_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading any weight fails."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a weight was read")

    monkeypatch.setattr(np, "memmap", refuse)


@pytest.mark.parametrize("model", list(samples.MODELS))
@pytest.mark.usefixtures("without_weights")
def test_types_are_the_golden_ones(model: str) -> None:
    """By headers alone, where no lattice is looked for."""
    for ftype in {ftype for ftype, use in samples.golden_files(model) if use == "none"}:
        found = prepare(checkpoint(model, samples.CONVERTED[model]), ftype, scales="ggml")
        rows = samples.golden_rows(model, ftype, again=True)
        wanted = {row.tensor: row.type for row in rows}
        assert {name: kind.name for name, kind in found.types.items()} == wanted


@pytest.mark.parametrize("model", list(samples.MODELS))
@pytest.mark.parametrize("ftype", ["F16", "Q8_0", "Q4_K_M", "Q2_K", "TQ2_0"])
def test_the_size_is_exact(model: str, ftype: str, gguf_of: Gguf, tmp_path: Path) -> None:
    base = samples.CONVERTED[model]
    converted = gguf_of(model, base)
    quantize(converted, tmp_path / "q.gguf", ftype=ftype)
    size = (tmp_path / "q.gguf").stat().st_size
    found = prepare(checkpoint(model, base), ftype)
    assert found.facts["file_bytes"] == size
    assert prepare(converted, ftype).facts == found.facts
    tensors = reader.read(tmp_path / "q.gguf").tensors.values()
    assert found.types == {tensor.name: tensor.type for tensor in tensors}
    assert found.facts["tensor_bytes"] == sum(tensor.nbytes for tensor in tensors)


def test_the_size_counts_what_is_noted_of_an_importance_matrix(
    gguf_of: Gguf, tmp_path: Path
) -> None:
    converted = gguf_of("stories260K", "F32")
    matrix = samples.imatrix_of("stories260K")
    wanted = TypeRequest.of("Q4_0", tensor_types={"ffn_up": "Q5_1"}, token_embedding_type="Q8_0")
    quantize(converted, tmp_path / "q.gguf", ftype=wanted, imatrix=matrix)
    found = prepare(checkpoint("stories260K", "F32"), wanted, imatrix=matrix)
    assert found.facts["file_bytes"] == (tmp_path / "q.gguf").stat().st_size
    assert found.types["blk.2.ffn_up.weight"].name == "Q5_1"
    assert found.types["token_embd.weight"].name == "Q8_0"


def test_it_refuses_what_quantizing_would_refuse() -> None:
    with pytest.raises(errors.RecipeError, match="garbage without an importance matrix"):
        prepare(checkpoint("tinystories-d256", "F16"), "IQ2_XXS")
    with pytest.raises(errors.DataError, match="another model's"):
        prepare(
            checkpoint("tinystories-d256", "F16"),
            "Q4_K_M",
            imatrix=samples.imatrix_of("stories260K"),
        )
