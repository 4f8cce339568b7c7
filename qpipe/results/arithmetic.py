"""What a figure was computed in and where: two are comparable to the last digits only if alike."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

# What transformers' backend has said of itself since before there were these fields.
_BY = re.compile(r"\(torch [^,()]+, (float\d+|bfloat16), (cpu|cuda)[,)]")


@dataclass(frozen=True)
class Arithmetic:
    """``device`` is cpu or cuda, ``precision`` the type that is computed in. ``kernel`` multiplies
    packed weights, in ``kernel_precision`` where that is another. ``gpu`` is the card's name."""

    device: str
    precision: str
    kernel: str | None = None
    kernel_precision: str | None = None
    gpu: str | None = None

    @property
    def words(self) -> str:
        """``float32 on a cpu``, and packed weights in what else."""
        where = f"{self.precision} on a {self.device}"
        if self.kernel_precision is None:
            return where
        return f"{where}, packed weights in {self.kernel_precision}"

    def like(self, other: Arithmetic) -> bool:
        """Return whether figures of both can be compared: on another card of the same kind, and by
        another kernel in the same precision, they can."""
        own, others = (
            (each.device, each.precision, each.kernel_precision) for each in (self, other)
        )
        return own == others


def read(facts: Mapping[str, Any]) -> Arithmetic | None:
    """Read it from the facts of a measurement, or from a record of run.json; None where nothing
    says it."""
    if (record := facts.get("arithmetic")) is not None:
        return Arithmetic(**record)
    by = _BY.search(str(facts.get("backend") or ""))
    return None if by is None else Arithmetic(device=by[2], precision=by[1])


def to_record(arithmetic: Arithmetic) -> dict[str, str]:
    """Return its fields as JSON, without those that nothing is known of."""
    return {name: value for name, value in asdict(arithmetic).items() if value is not None}
