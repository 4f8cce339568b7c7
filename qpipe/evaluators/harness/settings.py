"""Settings of tasks: those without any effect, and those that would make texts no greedy ones."""

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
_GREEDY = frozenset({"until", *_LENGTHS, *_OF_SAMPLING})


def require_greedy(gen_kwargs: Mapping[str, Any]) -> None:
    """Raise DataError for a setting that would change greedy texts, such as repetition_penalty: one
    backend would follow it, and another pass it over."""
    others = sorted(gen_kwargs.keys() - _GREEDY)
    # Their neutral values say what is done anyway.
    if wrong := [name for name in others if gen_kwargs[name] not in _NEUTRAL.get(name, (None,))]:
        raise DataError(
            f"{wrong[0]}={gen_kwargs[wrong[0]]!r} is asked of generation, and models are compared "
            "by plain greedy texts: take it out of evaluate.gen_kwargs, or of the task"
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


def notes(
    tasks: Mapping[str, Any], *, num_fewshot: int | None, gen_kwargs: Mapping[str, Any] | None
) -> list[str]:
    """Notes on settings that some of ``tasks`` (by name) do not follow.

    Raises DataError for a setting that none of them follows.
    """
    notes = []
    if num_fewshot:
        fixed = [name for name, task in tasks.items() if task.get_config("num_fewshot") == 0]
        if len(fixed) == len(tasks):
            raise DataError(
                f"evaluate.num_fewshot={num_fewshot}: {_listed(fixed)} may have no examples; "
                "leave it null"
            )
        if fixed:
            notes.append(f"without examples, whatever evaluate.num_fewshot is: {_listed(fixed)}")
    if gen_kwargs:
        silent = [
            name for name, task in tasks.items()
            if task.get_config("output_type") != "generate_until"
        ]  # fmt: skip
        if len(silent) == len(tasks):
            raise DataError(
                f"evaluate.gen_kwargs: {_listed(silent)} asks for no texts; leave it null"
            )
        if silent:
            notes.append(f"no texts are written for {_listed(silent)}: evaluate.gen_kwargs is "
                         "for the others")  # fmt: skip
    return notes


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
