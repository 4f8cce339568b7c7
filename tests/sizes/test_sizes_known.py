"""The shapes that are shipped: each gives the number of parameters that was published."""

from __future__ import annotations

import pytest

from qpipe import sizes
from qpipe.sizes import known

GGUF_KNOWS = [
    entry
    for entry in {id(e): e for e in known.entries().values()}.values()
    if entry["config"]["model_type"] not in ("opt", "bloom")
]


@pytest.mark.parametrize("entry", GGUF_KNOWS, ids=lambda entry: str(entry["models"][0]))
def test_parameters(entry: dict[str, object]) -> None:
    config = entry["config"]
    assert isinstance(config, dict)
    said = sizes.predict(config, {"via": "f16"}).weights
    # RoPE's factors are a tensor in GGUF, and of no checkpoint.
    scaling = config.get("rope_scaling") or {}
    factors = 64 if scaling.get("rope_type") == "llama3" else 0
    factors = 32 if factors and config.get("head_dim") == 64 else factors
    assert said - factors == entry["parameters"]


def test_names() -> None:
    assert sizes.shapes("qwen/qwen2.5-7b-instruct") == sizes.shapes("Qwen/Qwen2.5-7B")
    assert sizes.shapes("nobody/nothing") is None
    assert len(known.entries()) > 100
