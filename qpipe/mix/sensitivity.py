"""What each tensor of a model loses in each type: the artifact of the stages ``sensitivity`` and
``module_sensitivity``, which has modules of a checkpoint that are computed as one for tensors.

Files: ``sensitivity.json``, and ``sensitivity.csv`` with a line for each tensor and type.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qpipe.errors import DataError
from qpipe.results.losses import TensorLoss, place, to_fact

JSON, CSV = "sensitivity.json", "sensitivity.csv"
SCHEMA = 1

_COLUMNS = ("tensor", "layer", "kind", "type", "bytes", "error", "kld", "measured")


@dataclass(frozen=True)
class InType:
    """A tensor in one type: its ``bytes``, its squared ``error`` weighted by the importance of its
    columns, over the weighted sum of its squares, and the mean ``kld`` of the model that has it so
    and all else as it was, in nats; ``measured``, or from its error."""

    bytes: int
    error: float
    kld: float
    measured: bool


@dataclass(frozen=True)
class TensorLosses:
    """A tensor of ``shape`` (numpy order), by the name of the type."""

    shape: tuple[int, ...]
    types: Mapping[str, InType]

    @property
    def weights(self) -> int:
        """The number of its weights."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Rung:
    """A whole mix that was measured on text that no loss was measured on: the ``expected`` sum of
    its tensors' losses, the ``kld`` that it had, and half the 95 % interval of that."""

    bits_per_weight: float
    expected: float
    kld: float
    half: float


@dataclass(frozen=True)
class Sensitivity:
    """The losses of all matrices by tensor, in the file's order, and the ladder of whole mixes,
    smallest first. ``text`` is what they were measured on."""

    tensors: Mapping[str, TensorLosses]
    rungs: Sequence[Rung]
    text: str
    tokens: int

    def save(self, folder: Path) -> None:
        """Write the files."""
        record = {"schema": SCHEMA, **asdict(self)}
        (folder / JSON).write_text(json.dumps(record, indent=1, allow_nan=False) + "\n")
        with (folder / CSV).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(_COLUMNS)
            writer.writerows(self._lines())

    def _lines(self) -> Iterator[tuple[object, ...]]:
        for name, tensor in self.tensors.items():
            layer, kind = place(name)
            for type_, one in tensor.types.items():
                yield name, "" if layer is None else layer, kind, type_, *asdict(one).values()

    @classmethod
    def load(cls, folder: Path) -> Sensitivity:
        """Read the files of an artifact. Raises DataError for those of another version."""
        record: dict[str, Any] = json.loads((folder / JSON).read_bytes())
        if record["schema"] != SCHEMA:
            raise DataError(
                f"{folder / JSON}: form {record['schema']}, and this qpipe reads {SCHEMA}: "
                "make it anew"
            )
        tensors = {
            name: TensorLosses(
                tuple(each["shape"]), {kind: InType(**one) for kind, one in each["types"].items()}
            )
            for name, each in record["tensors"].items()
        }
        rungs = [Rung(**each) for each in record["rungs"]]
        return cls(tensors, rungs, record["text"], record["tokens"])

    @property
    def fact(self) -> dict[str, str]:
        """The losses as a manifest keeps them for reports."""
        return to_fact(
            TensorLoss(name, {kind: one.kld for kind, one in tensor.types.items()})
            for name, tensor in self.tensors.items()
        )

    def whole(self, expected: float) -> tuple[float, float]:
        """The KL divergence of a whole mix whose tensors' losses sum to ``expected``, and half its
        95 % interval: on the ladder by straight lines in logarithms, beyond its ends by the ratio
        at the end."""
        steps = sorted((rung for rung in self.rungs if rung.kld > 0), key=lambda r: r.expected)
        if not steps or expected <= 0:
            return max(expected, 0.0), 0.0
        if expected <= steps[0].expected or expected >= steps[-1].expected:
            end = steps[0] if expected <= steps[0].expected else steps[-1]
            ratio = expected / end.expected
            return end.kld * ratio, end.half * ratio
        high = next(at for at, rung in enumerate(steps) if rung.expected >= expected)
        low, up = steps[high - 1], steps[high]
        share = math.log(expected / low.expected) / math.log(up.expected / low.expected)
        kld = math.exp((1 - share) * math.log(low.kld) + share * math.log(up.kld))
        relative = (1 - share) * low.half / low.kld + share * up.half / up.kld
        return kld, kld * relative
