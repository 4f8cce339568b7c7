"""Llama 3's RoPE factors."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from qpipe.gguf import reader, rope
from qpipe.gguf.config import Config
from qpipe.gguf.convert import convert
from qpipe.gguf.quantize import quantize
from qpipe.gguf.scalings import Scalings, standardized
from tests.gguf import samples

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def scaled(theta: float, **changes: Any) -> Config:
    fields = {"rope_theta": theta, "rope_scaling": LLAMA3 | changes}
    found, notes = standardized(Config(Path("c"), fields), Scalings(kinds=("default", "llama3")))
    assert notes == []
    return found


@pytest.mark.parametrize(
    ("config", "head_dim", "sha256"),
    [
        (scaled(5e5), 128, "af00a6286e9cba87733f6e5dd6b09a2bffd7326e6ac33d346f83f7c2f4857828"),
        (scaled(5e5), 64, "d25a6d176d9313062b8f86440c88649f9e568d573ea66bfa4e85e2424cf35633"),
        (
            scaled(5e5, factor=8.0),
            128,
            "8b516af9cb5db26ed32831eb6f493dd620843d1cd69ca7bbad760c76061cd565",
        ),
        (
            scaled(1e6, factor=4.0, high_freq_factor=3.0, original_max_position_embeddings=4096),
            80,
            "964b2b264b2bc19efa8d3994f3eb0201656a6aeb77d7e284b6a7a15d9b927d78",
        ),
    ],
)
def test_llama3_factors_are_torchs(config: Config, head_dim: int, sha256: str) -> None:
    """Digests of what the converter's formula gives in torch 2.13.0 (Llama 3.2, 3.1, other)."""
    factors = rope.factors(config, head_dim)
    assert factors is not None
    assert hashlib.sha256(factors.tobytes()).hexdigest() == sha256


def test_no_factors_otherwise() -> None:
    plain, _ = standardized(Config(Path("c"), {"rope_theta": 1e6}), Scalings())
    assert rope.factors(plain, 128) is None


def test_factors_become_a_tensor(tmp_path: Path) -> None:
    folder = samples.copy_model("stories260K", tmp_path / "m")
    samples.edit_config(folder, rope_scaling=LLAMA3 | {"original_max_position_embeddings": 512})
    convert(folder, tmp_path / "m.gguf", outtype="F16")
    quantize(tmp_path / "m.gguf", tmp_path / "q.gguf", ftype="Q8_0")
    for name in ("m.gguf", "q.gguf"):
        file = reader.read(tmp_path / name)
        tensor = file.tensors["rope_freqs.weight"]
        assert (tensor.type.name, tensor.shape) == ("F32", (4,))
        assert file.data(tensor).view("<f4")[0, 0] == 1.0
    assert next(iter(reader.read(tmp_path / "m.gguf").tensors)) == "rope_freqs.weight"

    from qpipe.llamacpp.model import Model

    with Model(tmp_path / "q.gguf") as model:
        assert "Q8_0" in model.describe()
