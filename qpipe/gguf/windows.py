"""Sliding windows: which layers have one, and what it means that llama.cpp computes none.

Windows of an architecture that llama.cpp computes in full change nothing up to their own length,
so they are noted; which layers have one is refused where llama.cpp has other layers in mind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from qpipe.gguf.config import Config
from qpipe.gguf.config_fields import OTHER_METHODS

FULL, SLIDING = "full_attention", "sliding_attention"


def layers(config: Config) -> list[str] | None:
    """``layer_types``, one for each layer, or None if it is missing."""
    kinds = config.fields.get("layer_types")
    if kinds is None:
        return None
    valid = isinstance(kinds, list) and all(kind in (FULL, SLIDING) for kind in kinds)
    if not valid or len(kinds) != config.integer("num_hidden_layers"):
        raise config.bad("layer_types", f"{FULL} or {SLIDING} for each layer")
    return [str(kind) for kind in kinds]


def alternating(config: Config, period: int) -> list[str]:
    """Every ``period``-th layer attends to all, the others within their window."""
    count = config.integer("num_hidden_layers")
    return [FULL if (i + 1) % period == 0 else SLIDING for i in range(count)]


def everywhere(config: Config) -> Iterator[str]:
    """The note for an architecture whose layers all have the window of ``sliding_window``."""
    if len(set(layers(config) or ())) > 1:
        raise config.unfit("layer_types", f"llama.cpp computes all layers alike{OTHER_METHODS}")
    if config.has("sliding_window"):
        yield from _note(config)


def where_used(sliding: Callable[[Config, int], bool]) -> Callable[[Config], Iterator[str]]:
    """The check of the Qwens, whose windows count if ``use_sliding_window`` is true.

    ``sliding`` says whether a layer has one where ``layer_types`` does not.
    """

    def check(config: Config) -> Iterator[str]:
        kinds = layers(config)
        if not config.flag("use_sliding_window") or not config.has("sliding_window"):
            if kinds and SLIDING in kinds:
                raise config.bad("layer_types", f"{FULL} alone, for there is no window")
            return
        if kinds is None:
            indices = range(config.integer("num_hidden_layers"))
            kinds = [SLIDING for i in indices if sliding(config, i)]
        if SLIDING in kinds:
            yield from _note(config)

    return check


def _note(config: Config) -> Iterator[str]:
    window, context = (config.integer(n) for n in ("sliding_window", "max_position_embeddings"))
    if window < context:
        yield (
            f"{config.path.name}: sliding_window {window} has no effect in llama.cpp, which "
            f"attends to the whole context here: as transformers up to {window} tokens, other "
            f"beyond (max_position_embeddings is {context})"
        )
