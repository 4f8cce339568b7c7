"""`quantize.target` of EXL2: the most bits a weight with which the files keep it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qpipe.engines.common.methods import Exl2Params
from qpipe.errors import RecipeError
from qpipe.stages.base import Preview

if TYPE_CHECKING:
    from qpipe.mix.running import Running
    from qpipe.sizes.predicted import PredictedSize

LEAST, MOST = 2.0, 8.0
_STEPS = 10_000  # of a bit: as finely as exllamav2 is asked


@dataclass(frozen=True)
class FittedBits:
    """Parameters with the bits of a target, and notes on it."""

    params: Exl2Params
    notes: tuple[str, ...] = ()


def fitted(params: Exl2Params, folder: Path) -> FittedBits:
    """The parameters with the most bits that keep their target, by what config.json says of the
    model; as they are without one.

    Raises RecipeError for a target below the fewest bits or above the most, naming both.
    """
    if params.target is None:
        return FittedBits(params)
    files = _Files(params, folder)
    if not files.keeps(LEAST) or files.has_room(MOST):
        raise RecipeError(
            f"quantize.target: {params.target.words}: no EXL2 keeps it and uses it: "
            f"{files.words(LEAST)}, {files.words(MOST)}; ask for something between"
        )
    low, high = int(LEAST * _STEPS), int(MOST * _STEPS)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if files.keeps(middle / _STEPS) else (low, middle)
    bits = MOST if files.keeps(MOST) else low / _STEPS
    note = f"for {params.target.words}: {files.words(bits)}, dealt out by exllamav2's measurement"
    return FittedBits(params.model_copy(update={"bits": bits, "target": None}), (note,))


def preview(params: Exl2Params, folder: Path) -> Preview:
    """The size with the bits of the target. Raises RecipeError as `fitted`."""
    own = fitted(params, folder)
    size = _Files(params, folder).size(own.params.bits)
    facts = {"format": size.format, "size_bytes": size.file_bytes, "weights": size.weights}
    facts |= {"bits_per_weight": size.bits_per_weight, "notes": [*own.notes]}
    return Preview(facts, {}, about=True)


class _Files:
    """The files by their bits, and what the target allows them."""

    def __init__(self, params: Exl2Params, folder: Path) -> None:
        from qpipe.memory import geometry
        from qpipe.mix.running import Running

        assert params.target is not None, params
        self.params, self.target, self.folder = params, params.target, folder
        self.running: Running | None = None
        if self.target.memory is not None:
            self.running = Running.of(geometry(folder), self.target, runtime="exllama")
            self.running.require_room()

    def size(self, bits: float) -> PredictedSize:
        from qpipe.sizes.predict import predict

        fields = {"method": "exl2", "bits": bits, "head_bits": self.params.head_bits}
        return predict(self.folder, fields)

    def keeps(self, bits: float) -> bool:
        """True if all bounds are kept."""
        return all(room >= 0 for room in self._rooms(bits))

    def has_room(self, bits: float) -> bool:
        """True if there is more room in each bound than is taken."""
        return all(room > 0 for room in self._rooms(bits))

    def words(self, bits: float) -> str:
        """The files of so many bits in words."""
        size = self.size(bits)
        taken = ""
        if self.running is not None:
            taken = f", {self.running.note(self.running.parts(size.tensors))}"
        return (
            f"with {bits:g} bits about {size.file_bytes:,} bytes "
            f"({size.bits_per_weight:.2f} bits per weight of all tensors){taken}"
        )

    def _rooms(self, bits: float) -> list[float]:
        """The room that is left of each bound."""
        size, rooms = self.size(bits), []
        if self.target.size is not None:
            rooms.append(float(self.target.size - size.file_bytes))
        if self.target.bpw is not None:
            rooms.append(math.floor(self.target.bpw * size.weights / 8) - size.tensor_bytes)
        if self.running is not None:
            rooms.append(self.running.most - self.running.parts(size.tensors).total)
        return rooms
