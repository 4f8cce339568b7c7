"""The facts of a model and the model that is read from them say the same."""

from __future__ import annotations

from qpipe.results import ModelFacts, facts

FULL = ModelFacts(
    format="Q4_K_M",
    size_bytes=1000,
    weights=1600,
    bits_per_weight=4.9,
    tensor_bytes=980,
    architecture="llama",
    tensors=3,
    tensor_types={"Q4_K": 2, "F32": 1},
    source="bf16",
    notes=("small",),
    more={"engine": "gguf"},
)


def test_every_field_of_a_model_is_read_back() -> None:
    assert facts.model(facts.to_facts(FULL)) == FULL
