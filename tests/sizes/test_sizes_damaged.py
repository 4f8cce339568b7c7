"""A config.json with a field gone or of a wrong kind is refused by name, or sized: nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qpipe import sizes
from qpipe.errors import CheckpointError, QpipeError

MODELS = (
    *("Qwen/Qwen2.5-0.5B", "google/gemma-3-4b-it", "openai/gpt-oss-20b", "facebook/opt-350m"),
    *("bigscience/bloom-560m", "microsoft/phi-2", "LiquidAI/LFM2.5-1.2B-Instruct"),
    *("mistralai/Mixtral-8x7B-v0.1", "stabilityai/stablelm-2-1_6b", "microsoft/phi-4"),
)
ASKED = (
    {"method": "gguf", "type": "Q4_K_M"}, {"method": "gptq"}, {"method": "awq"}, {"method": "bnb"},
    {"method": "int8"}, {"method": "exl2"}, {"method": "fp8", "scheme": "block"},
    {"dtype": "source"}, {"via": "f16"},
)  # fmt: skip
GONE = object()
WRONG: tuple[Any, ...] = (
    *(GONE, None, "x", -1, 0, 1, 3, 2**31 - 1, 2**40, 1.5, float("nan"), True, False, [], [1], {}),
    *({"a": 1}, "float32"),
)


@st.composite
def damaged(draw: st.DrawFn) -> dict[str, Any]:
    """A known config with one or two fields gone or changed, of its sections too."""
    known = sizes.shapes(draw(st.sampled_from(MODELS)))
    assert known is not None
    config = dict(known)
    for _ in range(draw(st.integers(1, 2))):
        name, value = draw(st.sampled_from(sorted(config))), draw(st.sampled_from(WRONG))
        section = config[name]
        if isinstance(section, dict) and section and draw(st.booleans()):
            inner = draw(st.sampled_from(sorted(section)))
            config[name] = {key: own for key, own in section.items() if key != inner}
            config[name] |= {} if value is GONE else {inner: value}
        elif value is GONE:
            del config[name]
        else:
            config[name] = value
    return config


def _sized_or_refused(config: dict[str, Any], asked: dict[str, Any]) -> None:
    try:
        said = sizes.predict(config, asked)
    except QpipeError as error:
        assert str(error)
    else:
        assert 0 < said.tensor_bytes < said.file_bytes
        assert said.weights > 0


@settings(max_examples=60)
@given(damaged(), st.sampled_from(ASKED))
def test_a_damaged_config(config: dict[str, Any], asked: dict[str, Any]) -> None:
    _sized_or_refused(config, asked)


@pytest.mark.soak
@settings(max_examples=3000)
@given(damaged(), st.sampled_from(ASKED))
def test_many_damaged_configs(config: dict[str, Any], asked: dict[str, Any]) -> None:
    _sized_or_refused(config, asked)


def test_sizes_of_no_model() -> None:
    """Numbers that are sizes each, and none together."""
    known = sizes.shapes("Qwen/Qwen2.5-7B")
    assert known is not None
    wide = dict(known) | {"hidden_size": 2**31 - 32, "intermediate_size": 2**31 - 32}
    with pytest.raises(CheckpointError, match="weights is none"):
        sizes.predict(wide | {"num_attention_heads": 1, "num_key_value_heads": 1}, ASKED[0])
    with pytest.raises(CheckpointError, match="'num_hidden_layers' is 2147483647"):
        sizes.predict(dict(known) | {"num_hidden_layers": 2**31 - 1}, {"method": "gptq"})
