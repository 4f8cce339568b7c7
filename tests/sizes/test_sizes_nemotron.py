"""Nemotron 3 Nano: layers of one kind each, and rows that K-quants do not fit."""

from __future__ import annotations

from typing import Any

import pytest

from qpipe import sizes
from qpipe.errors import CheckpointError

SHAPE = sizes.shapes("nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16")


def test_the_checkpoint() -> None:
    """63,155,880,576 bytes of tensors in BF16, as vLLM loads them."""
    assert SHAPE is not None
    assert sizes.predict(SHAPE, {"dtype": "bf16"}).tensor_bytes == 63_155_880_576


@pytest.mark.parametrize(("kind", "gigabytes"), [("Q4_K_M", 24.5), ("IQ4_XS", 18.1)])
def test_types_that_fall_back(kind: str, gigabytes: float) -> None:
    """Rows of 2,688 weights are no multiple of 256. Ollama's library has Q4_K_M at 24 GB, bartowski
    IQ4_XS at 18.1 GB."""
    assert SHAPE is not None
    size = sizes.predict(SHAPE, {"method": "gguf", "type": kind, "imatrix": "a.gguf"})
    assert size.file_bytes == pytest.approx(gigabytes * 1e9, rel=1e-2)


@pytest.mark.parametrize(
    "changed",
    [
        {"hybrid_override_pattern": "MX*"},
        {"hybrid_override_pattern": ""},
        {"moe_latent_size": 1024},
        {"num_nextn_predict_layers": 1},
    ],
)
def test_what_is_not_known_is_said(changed: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match=next(iter(changed))):
        sizes.predict({**(SHAPE or {}), **changed}, {"dtype": "bf16"})


def test_kinds_in_words_are_the_pattern() -> None:
    fields = {**(SHAPE or {})}
    words = {"M": "mamba", "*": "attention", "E": "moe"}
    fields["layers_block_type"] = [words[c] for c in fields.pop("hybrid_override_pattern")]
    assert sizes.predict(fields, {"dtype": "bf16"}).tensor_bytes == 63_155_880_576
