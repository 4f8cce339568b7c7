"""The answer of `qpipe estimate`: a model in each format, its files and what it takes to run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from qpipe.errors import CheckpointError, QpipeError
from qpipe.gguf.repacking import repacked_bytes
from qpipe.machine.capacity import usable_memory
from qpipe.machine.identity import features
from qpipe.memory import Geometry, RunMemory, RunSetting, Weights, geometry
from qpipe.runtimes import architectures, formats
from qpipe.runtimes.formats import NamedFormat
from qpipe.runtimes.overheads import overheads
from qpipe.session.estimating import calibration, models
from qpipe.session.estimating.conditions import RunConditions, detected, trained
from qpipe.session.estimating.fitting import Fit, Room
from qpipe.session.estimating.models import EstimatedModel
from qpipe.session.estimating.speed import SpeedBound, rates, speed
from qpipe.sizes.predict import predict
from qpipe.sizes.predicted import PredictedSize
from qpipe.sizes.source import ModelSource

if TYPE_CHECKING:
    from qpipe.session.forecasts import RunPlan

_OF_GGUF = "a GGUF file: of formats of checkpoints nothing is known without its config.json"


@dataclass(frozen=True)
class EstimatedFormat:
    """A model in a format: the size of its files, what it takes with a ``runtime``, and whether it
    fits. ``asked``: that runtime is the one that was asked for. Without ``speed`` nothing is known
    of how fast it is at most."""

    format: NamedFormat
    runtime: str
    asked: bool
    size: PredictedSize
    setting: RunSetting
    memory: RunMemory
    fit: Fit
    speed: SpeedBound | None = None
    notes: tuple[str, ...] = ()

    @property
    def repacked(self) -> int:
        """Bytes of weights that llama.cpp lays out anew for this machine's processor, beside the
        mapped file; of a model on a GPU none are counted."""
        if self.runtime != "llama.cpp" or self.fit.answer in ("gpu", "partly"):
            return 0
        return repacked_bytes(self.size.tensors, self.size.kinds, features())

    @property
    def unknown(self) -> tuple[str, ...]:
        """The parts of memory of which not all is known."""
        where = {name for name, parts in self.memory.devices.items() if parts.compute}
        lacking = (each for each in overheads(self.runtime) if each.size is None)
        return ("overhead",) if any(each.device in where for each in lacking) else ()


@dataclass(frozen=True)
class ModelEstimate:
    """A model in several formats under the same ``conditions``, those that the runtime loads first.

    ``parameters`` are all weights, and those that compute a token; ``left_out`` formats that it
    cannot be in, and why; ``notes`` what was assumed of all. ``plan`` is what making its models
    takes, where a recipe was named.
    """

    model: EstimatedModel
    geometry: Geometry
    conditions: RunConditions
    context: int
    parameters: tuple[int, int]
    rows: tuple[EstimatedFormat, ...]
    left_out: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = field(default=())
    plan: RunPlan | None = None


def estimate(
    model: str, types: Sequence[str] = (), conditions: RunConditions | None = None
) -> ModelEstimate:
    """The files and memory of ``model`` in ``types``, by default the formats of `formats.USUAL`.

    Nothing is run and no weight is read. Raises UsageError and RecipeError for what is asked,
    SourceError for a repository that cannot be had, CheckpointError for a model that is not known.
    """
    asked = conditions or RunConditions()
    wanted = [formats.named(name, asked.runtime) for name in types]
    found = models.find(model)
    shape = geometry(found.config)
    asked.require_cache(shape)
    if not asked.cards:
        here = () if asked.cpu_alone else detected()
        asked = replace(asked, cards=here, ram=asked.ram or usable_memory())
    rooms = _Rooms(found, shape, asked)
    rows: list[EstimatedFormat] = []
    left_out: list[tuple[str, str]] = []
    for each in wanted or _usual(found, asked.runtime):
        try:
            rows.append(rooms.row(each))
        except QpipeError as error:
            if wanted:
                raise
            left_out.append((each.name, str(error)))
    if not rows:
        raise CheckpointError(left_out[0][1])
    notes = (*found.notes, *shape.notes, *asked.notes(shape), *rooms.notes)
    return ModelEstimate(
        found,
        shape,
        asked,
        asked.tokens(shape),
        rooms.parameters(),
        tuple(rows),
        tuple(left_out),
        tuple(dict.fromkeys(notes)),
    )


def _usual(model: EstimatedModel, runtime: str) -> list[NamedFormat]:
    """The formats that are shown where none is asked for."""
    usual = formats.usual(runtime)
    return [each for each in usual if not model.is_gguf or each.files == formats.GGUF]


class _Rooms:
    """The rows of a model, one room for each runtime."""

    def __init__(self, model: EstimatedModel, shape: Geometry, asked: RunConditions) -> None:
        self.model, self.shape, self.asked = model, shape, asked
        self.notes = [_OF_GGUF] if model.is_gguf else []
        self._rooms: dict[str, Room] = {}
        self._rates = rates(asked.cards, calibration.load())

    def row(self, kind: NamedFormat) -> EstimatedFormat:
        size = predict(self.model.config, kind.quantize)
        runtime = self.asked.runtime if self.asked.runtime in kind.runtimes else kind.runtimes[0]
        self._require_known(runtime)
        room = self._room(runtime)
        memory, fit = room.place(self._weights(size))
        return EstimatedFormat(
            kind,
            runtime,
            runtime == self.asked.runtime,
            size,
            room.setting,
            memory,
            fit,
            None if fit.answer == "no" else self._speed(memory, size),
            size.notes,
        )

    def _require_known(self, runtime: str) -> None:
        """Raise RecipeError for a class of models that the runtime does not compute rightly."""
        if not self.model.is_gguf:
            architectures.require(runtime, ModelSource.of(self.model.config).config.fields)

    def parameters(self) -> tuple[int, int]:
        """The weights of the model, and those of them that compute a token, the table of tokens not
        counted where it is not the output matrix too."""
        fields = {"via": "f32"} if self.model.is_gguf else {"dtype": "fp32"}
        size = predict(self.model.config, {"method": "none", **fields})
        weights = self._weights(size)
        return weights.total // 4, weights.active // 4

    def _speed(self, memory: RunMemory, size: PredictedSize) -> SpeedBound | None:
        return speed(memory, size.weights, self._rates, sequences=self.asked.sequences)

    def _weights(self, size: PredictedSize) -> Weights:
        sizes = self.shape.sizes
        return Weights.of_tensors(
            size.tensors,
            experts=sizes.get("expert_count", 0),
            used=sizes.get("expert_used_count", 0),
            extra=sizes.get("nextn_predict_layers", 0),
        )

    def _room(self, runtime: str) -> Room:
        if runtime not in self._rooms:
            setting, notes = self.asked.setting(runtime, self.shape)
            room = Room(
                self.shape,
                setting,
                cards=len(self.asked.cards),
                ram=self.asked.ram,
                most=trained(self.shape),
            )
            self._rooms[runtime] = room
            where = "gpu" if self.asked.cards or runtime in ("vllm", "exllama") else "cpu"
            of_runtime = [each.note for each in overheads(runtime) if each.device == where]
            self.notes += [*notes, *of_runtime]
        return self._rooms[runtime]
