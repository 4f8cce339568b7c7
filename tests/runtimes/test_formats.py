"""Names of formats, and what they stand for."""

from __future__ import annotations

import pytest

from qpipe.errors import RecipeError
from qpipe.gguf.ftypes import FILE_TYPES
from qpipe.runtimes import formats


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("q4_k_m", {"method": "gguf", "type": "Q4_K_M"}),
        ("Q4_K", {"method": "gguf", "type": "Q4_K_M"}),
        ("gptq", {"method": "gptq", "bits": 4, "group_size": 128}),
        ("AWQ-8bit-g64", {"method": "awq", "bits": 8, "group_size": 64}),
        ("exl2-4.5bpw-h8", {"method": "exl2", "bits": 4.5, "head_bits": 8}),
        ("FP8-dynamic", {"method": "fp8"}),
        ("NF4", {"method": "bnb", "type": "nf4"}),
    ],
)
def test_a_name_stands_for_fields_of_quantize(name: str, fields: dict[str, object]) -> None:
    assert formats.named(name).quantize == fields


def test_halves_are_gguf_for_llama_cpp_and_checkpoints_for_others() -> None:
    assert formats.named("BF16", "llama.cpp").files == formats.GGUF
    assert formats.named("BF16", "vllm").files == formats.SAFETENSORS


@pytest.mark.parametrize("name", sorted(FILE_TYPES))
def test_every_type_of_llama_quantize_is_a_name(name: str) -> None:
    assert formats.named(name).files == formats.GGUF


@pytest.mark.parametrize("runtime", ["llama.cpp", "vllm", "transformers", "exllama"])
def test_what_the_runtime_loads_comes_first(runtime: str) -> None:
    loaded = [runtime in each.runtimes for each in formats.usual(runtime)]
    assert loaded == sorted(loaded, reverse=True)
    assert any(loaded) and len(loaded) >= 20


@pytest.mark.parametrize(("name", "near"), [("Q4_KM", "Q4_K_M"), ("nvfp5", "NVFP4"), ("", "known")])
def test_an_unknown_name_is_told_with_the_nearest(name: str, near: str) -> None:
    with pytest.raises(RecipeError, match=near):
        formats.named(name)
