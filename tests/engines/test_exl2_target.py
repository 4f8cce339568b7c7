"""EXL2 under a budget: the most bits that keep it, reckoned without a GPU."""

from __future__ import annotations

from typing import Any

import pydantic
import pytest

from qpipe.engines.common.exl2_target import fitted, preview
from qpipe.engines.exllamav2 import Exl2, ExllamaParams
from qpipe.errors import RecipeError
from qpipe.mix.target import MixTarget
from qpipe.sizes.predict import predict
from qpipe.sources.pinning import DATA
from qpipe.stages.base import Order

MODEL = DATA / "tinystories-d256"


def size(bits: float) -> int:
    return predict(MODEL, {"method": "exl2", "bits": bits, "head_bits": 6}).file_bytes


def params(**target: Any) -> ExllamaParams:
    return ExllamaParams(target=MixTarget.model_validate(target))


def test_the_most_bits_that_keep_a_size() -> None:
    allowed = size(4.6)
    own = fitted(params(size=allowed), MODEL)
    assert own.params.target is None
    assert own.params.bits == pytest.approx(4.6, abs=0.002)
    assert size(own.params.bits) <= allowed < size(own.params.bits + 0.001)
    assert f"size {allowed:,} bytes" in own.notes[0]
    facts = preview(params(size=allowed), MODEL).facts
    assert facts["size_bytes"] == size(own.params.bits)


def test_bits_per_weight_are_of_all_tensors() -> None:
    own = fitted(params(bpw=6.0), MODEL)
    whole = predict(
        MODEL, {"method": "exl2", "bits": own.params.bits, "head_bits": own.params.head_bits}
    )
    assert 5.99 < whole.bits_per_weight <= 6.0
    assert own.params.bits < 6.0  # the embeddings have sixteen


def test_memory_is_that_of_exllama() -> None:
    with pytest.raises(RecipeError) as refused:
        fitted(params(memory=10**9, ctx=256), MODEL)
    most = str(refused.value).rpartition("forecast: ")[2].split(" bytes")[0].replace(",", "")
    tight = params(memory=int(most) - 200_000, ctx=256)
    own = fitted(tight, MODEL)
    assert 2 < own.params.bits < 8
    assert "memory in exllama on the GPU with 256 tokens" in own.notes[0]
    both = fitted(params(memory=int(most) - 200_000, ctx=256, bpw=5.0), MODEL)
    assert both.params.bits < own.params.bits


@pytest.mark.parametrize("target", [{"size": 1000}, {"size": 10**8}, {"bpw": 3.0}, {"bpw": 16.0}])
def test_outside_both_ends_are_named(target: dict[str, Any]) -> None:
    with pytest.raises(RecipeError) as refused:
        Exl2.refuse(params(**target), Order({"model": MODEL}))
    for bits in (2, 8):
        assert f"with {bits} bits about {size(bits):,} bytes" in str(refused.value)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(pydantic.ValidationError, match="tells no KL divergence of the whole"):
        params(kld=0.01)
    with pytest.raises(pydantic.ValidationError, match="bits is 5, and target says them"):
        ExllamaParams(bits=5.0, target={"bpw": 5.0})  # type: ignore[arg-type]
