"""Settings that tasks, once loaded, have no use for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qpipe.errors import DataError


def notes(
    tasks: Mapping[str, Any], *, num_fewshot: int | None, gen_kwargs: Mapping[str, Any] | None
) -> list[str]:
    """Notes on settings that some of ``tasks`` (by name) do not follow.

    Raises DataError for a setting that none of them follows.
    """
    found = []
    if num_fewshot:
        fixed = [name for name, task in tasks.items() if task.get_config("num_fewshot") == 0]
        if len(fixed) == len(tasks):
            raise DataError(
                f"evaluate.num_fewshot={num_fewshot}: {_listed(fixed)} may have no examples; "
                "leave it null"
            )
        if fixed:
            found.append(f"without examples, whatever evaluate.num_fewshot is: {_listed(fixed)}")
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
            found.append(f"no texts are written for {_listed(silent)}: evaluate.gen_kwargs is "
                         "for the others")  # fmt: skip
    return found


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
