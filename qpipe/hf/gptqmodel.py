"""What GPTQModel 7.6.0 gets wrong when it loads a model, mended in its own process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def mended_loading() -> Iterator[None]:
    """Load models without a pad token, and with several kinds of RoPE."""
    from gptqmodel.utils import hf
    from tokenicer.tokenicer import Tokenicer

    within = _within(Tokenicer._auto_map_pad_token)
    whole = _whole(hf._normalize_rope_parameters_config_compat)
    with (
        replaced(Tokenicer, "_auto_map_pad_token", within),
        replaced(hf, "_normalize_rope_parameters_config_compat", whole),
    ):
        yield


def _within(choose: Any) -> Any:
    """Tokenicer 0.0.14 takes a pad token that the embeddings may have no row for, and writes it
    into the config; torch then refuses to make them. What pads is masked: any token does."""

    def within(self: Any, model_config: Any, pad_tokens: Any) -> Any:
        token = choose(self, model_config, pad_tokens)
        text = model_config.get_text_config()
        return token if token is None or token < text.vocab_size else 0

    return within


def _whole(normalize: Any) -> Any:
    """GPTQModel puts ``rope_type`` beside the RoPE of each kind of layer (Gemma 3, OLMo 3), and
    transformers then fails to save the config."""

    def whole(config: Any) -> None:
        rope = getattr(config, "rope_parameters", None) or {}
        if not any(isinstance(value, dict) for value in rope.values()):
            normalize(config)

    return whole


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Have another value under a name of a class or module for a while."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
