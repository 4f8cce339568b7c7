"""Settings of a greedy generation: which there are, so that no other is passed over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qpipe.errors import DataError

# Where a text ends (lm-eval, models/utils.py, normalize_gen_kwargs).
_LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
# Without effect on the likeliest token.
_OF_SAMPLING = (
    "do_sample", "temperature", "top_p", "top_k", "min_p", "typical_p", "epsilon_cutoff",
    "eta_cutoff",
)  # fmt: skip
KNOWN = frozenset({"until", *_LENGTHS, *_OF_SAMPLING})


def refuse(given: Mapping[str, Any]) -> None:
    """Raise DataError for a setting that would change greedy texts, such as repetition_penalty: one
    backend would follow it, and another pass it over."""
    others = sorted(given.keys() - KNOWN)
    # Their neutral values say what is done anyway.
    if wrong := [name for name in others if given[name] not in _NEUTRAL.get(name, (None,))]:
        raise DataError(
            f"{wrong[0]}={given[wrong[0]]!r} is asked of generation, and models are compared by "
            "plain greedy texts: take it out of evaluate.gen_kwargs, or of the task"
        )


_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "num_beams": (None, 1),
    "num_return_sequences": (None, 1),
    "repetition_penalty": (None, 1, 1.0),
    "length_penalty": (None, 1, 1.0),
    "no_repeat_ngram_size": (None, 0),
    "min_length": (None, 0),
    "min_new_tokens": (None, 0),
    "use_cache": (None, True, False),
    "early_stopping": (None, True, False),
}
