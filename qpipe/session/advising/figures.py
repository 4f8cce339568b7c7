"""What each format of a model would take on a machine: bytes of files, memory by device, speed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from qpipe.advice.candidates import AdvisedFormat, AdvisedSpeed, Footprint
from qpipe.advice.evidence import signature
from qpipe.advice.hardware import AdvisedMachine
from qpipe.advice.needs import RUNTIMES, Needs
from qpipe.advice.ranking import PassedOver
from qpipe.advice.rulebook import Rulebook
from qpipe.errors import CheckpointError, RecipeError
from qpipe.memory import Geometry, RunMemory, Weights, geometry
from qpipe.runtimes.cards import Card
from qpipe.runtimes.formats import SAFETENSORS, NamedFormat, named
from qpipe.session.advising.acceptance import Acceptance, section
from qpipe.session.advising.own import OwnFigures
from qpipe.session.estimating import calibration as calibrations
from qpipe.session.estimating.conditions import RunConditions, trained
from qpipe.session.estimating.fitting import Fit, Room
from qpipe.session.estimating.speed import rates, speed
from qpipe.sizes import PredictedSize, predict
from qpipe.sizes.source import ModelSource

_SHARED = ("llama.cpp", "ollama")  # runtimes that share layers between CPU and GPU
_LLAMA_CPP = "llama.cpp"
_UNQUANTIZED = ("BF16", "F16")
_LARGER = 1.05
_NO_SMALLER = "it is larger than the model as it is published"
_SOURCE = {"method": "none", "dtype": "source"}
_LOAD_CHECKPOINTS = ("vllm", "transformers")
_UNASKED = 1  # the longest context that would fit: nobody asks for it here


@dataclass(frozen=True)
class FormatFigures:
    """Reckons a model's formats: ``config`` as `predict` takes it, on a machine, for needs, with a
    KV cache of the type ``cache``, by default the runtime's own."""

    config: Mapping[str, Any] | Path
    machine: AdvisedMachine
    needs: Needs
    book: Rulebook
    own: OwnFigures
    cache: str | None = None

    def all(self) -> tuple[list[AdvisedFormat], list[PassedOver]]:
        """Every format of every runtime that is asked for, and those that cannot be made.

        Raises CheckpointError for a model of which nothing can be said.
        """
        found: list[AdvisedFormat] = []
        refused: list[PassedOver] = []
        errors: list[CheckpointError] = []
        for runtime in self._runtimes():
            found += self._as_published(runtime)
            for name in self._formats(runtime):
                try:
                    each = self._candidate(named(name, _as_known(runtime)), runtime)
                    if self._published and each.size_bytes > _LARGER * self._published:
                        refused.append(PassedOver(name, runtime, _NO_SMALLER))
                    else:
                        found.append(each)
                except (CheckpointError, RecipeError) as error:
                    errors += [error] if isinstance(error, CheckpointError) else []
                    refused.append(PassedOver(name, runtime, str(error)))
        if not found and errors:
            raise errors[0]
        return found, refused

    def _as_published(self, runtime: str) -> Iterator[AdvisedFormat]:
        """A model that is published in few bits, as it is, where a runtime loads it."""
        packed = self._published and ModelSource.of(self.config).settings is not None
        if packed and runtime in _LOAD_CHECKPOINTS:
            name = predict(self.config, _SOURCE).format
            each = NamedFormat(name, _SOURCE, SAFETENSORS, _LOAD_CHECKPOINTS)
            yield self._candidate(each, runtime)

    @cached_property
    def _acceptance(self) -> Acceptance:
        return Acceptance(self.config)

    @cached_property
    def _published(self) -> int:
        """Bytes of the model as it is published, quantized or not; 0 where that is not known."""
        try:
            return predict(self.config, _SOURCE).file_bytes
        except (CheckpointError, RecipeError):
            return 0

    def _runtimes(self) -> Sequence[str]:
        if self.needs.runtime is not None:
            return [self.needs.runtime]
        gpus = self.machine.cards and not self.needs.cpu_alone
        return RUNTIMES if gpus else [each for each in RUNTIMES if each in _SHARED]

    def _formats(self, runtime: str) -> Iterator[str]:
        """The formats of a runtime; of Ollama those of others too, which a rule then leaves out."""
        yield from self.book.formats[runtime]  # type: ignore[index]
        if runtime in ("ollama", "vllm") and self.needs.runtime == runtime:
            other = "vllm" if runtime == "ollama" else _LLAMA_CPP
            for name in self.book.formats[other]:  # type: ignore[index]
                if name not in (*self.book.formats[runtime], *_UNQUANTIZED):  # type: ignore[index]
                    yield name

    def _candidate(self, each: NamedFormat, runtime: str) -> AdvisedFormat:
        self._acceptance.require(runtime, each.quantize)
        size, said, fit = self._fitted(_as_known(runtime), each.quantize)
        footprint, lacks = self._placed(runtime, said, fit)
        engine = section(each.quantize).get("engine") or _WRITERS[each.files]
        return AdvisedFormat(
            each.name,
            runtime,
            each.quantize,
            str(engine),
            size.file_bytes,
            size.bits_per_weight,
            footprint,
            lacks,
            self._speed(each, size, said, runtime),
        )

    def placed(self, candidate: AdvisedFormat) -> tuple[Footprint, int]:
        """Return where a candidate goes, and the bytes by which it does not fit."""
        _, said, fit = self._fitted(_as_known(candidate.runtime), candidate.quantize)
        return self._placed(candidate.runtime, said, fit)

    def longest(self, candidate: AdvisedFormat) -> int | None:
        """Tokens of context of each request with which a candidate still fits where it is; None
        where CPU and GPU share it, which moves layers as the context grows."""
        if candidate.footprint.layers is not None:
            return None
        size, _, _ = self._fitted(_as_known(candidate.runtime), candidate.quantize)
        room = self._of_runtime(_as_known(candidate.runtime), most=trained(self._geometry))
        return room.place(self._weights(size))[1].context

    def _fitted(
        self, runtime: str, quantize: Mapping[str, Any]
    ) -> tuple[PredictedSize, RunMemory, Fit]:
        """A format's size, what it takes, and whether that fits; reckoned once."""
        name = (runtime, repr(sorted(quantize.items())))
        if name not in self._known:
            size = predict(self.config, quantize)
            self._known[name] = (size, *self._room(runtime).place(self._weights(size)))
        return self._known[name]

    @cached_property
    def _known(self) -> dict[tuple[str, str], tuple[PredictedSize, RunMemory, Fit]]:
        return {}

    def _placed(self, runtime: str, said: RunMemory, fit: Fit) -> tuple[Footprint, int]:
        """Return where a model goes on this machine, and the bytes by which it does not fit."""
        cpu_room, gpu_room = (
            self.machine.cpu_room(self.book),
            self.machine.gpu_room(self.book, runtime),
        )
        shares = runtime in _SHARED and self.machine.ram is not None
        partly = fit.answer == "partly" and shares
        lacks = 0 if partly or fit.answer in ("gpu", "cpu") else max(fit.lacking, 1)
        if lacks and shares and self._cards(runtime):
            lacks = max(said.total - gpu_room - cpu_room, 1)
        device = "cpu+gpu" if partly else "gpu" if self._cards(runtime) else "cpu"
        return _footprint(said, device, fit), lacks

    def _cards(self, runtime: str) -> tuple[Card, ...]:
        """The GPUs that take part, each with its memory less a margin."""
        margin = self.machine.margin(self.book, runtime)
        there = () if self.needs.cpu_alone else self.machine.cards
        return tuple(replace(card, memory=max(card.memory - margin, 1)) for card in there)

    @cached_property
    def _geometry(self) -> Geometry:
        return geometry(self.config)

    def _room(self, runtime: str) -> Room:
        """Return what holds for a runtime whatever the format, and is reckoned once."""
        if runtime not in self._rooms:
            self._rooms[runtime] = self._of_runtime(runtime, most=_UNASKED)
        return self._rooms[runtime]

    def _of_runtime(self, runtime: str, *, most: int | None) -> Room:
        asked = RunConditions(
            runtime,
            context=self.needs.context,
            sequences=self.needs.batch,
            kv_k=self.cache,
            kv_v=self.cache,
            cards=self._cards(runtime),
            ram=None if self.machine.ram is None else self.machine.cpu_room(self.book),
        )
        setting, _ = asked.setting(runtime, self._geometry)
        cards = len(self._cards(runtime))
        return Room(self._geometry, setting, cards=cards, ram=asked.ram, most=most)

    @cached_property
    def _rooms(self) -> dict[str, Room]:
        return {}

    def _weights(self, size: PredictedSize) -> Weights:
        sizes = self._geometry.sizes
        return Weights.of_tensors(
            size.tensors,
            experts=sizes.get("expert_count", 0),
            used=sizes.get("expert_used_count", 0),
            extra=sizes.get("nextn_predict_layers", 0),
        )

    def _speed(
        self, each: NamedFormat, size: PredictedSize, said: RunMemory, runtime: str
    ) -> AdvisedSpeed | None:
        """Tokens a second of a request: as measured here, else what reading the weights allows."""
        measured = self.own.speed.get(signature(each.quantize))
        if measured is not None and self.machine.detected:
            return AdvisedSpeed(measured[0], False, measured[1])
        calibration = calibrations.load() if self.machine.detected else None
        known = rates(self._cards(runtime), calibration)
        most = speed(said, size.weights, known, sequences=1)
        return None if most is None else AdvisedSpeed(most.generation, True, most.basis)


def _footprint(said: RunMemory, device: str, fit: Fit) -> Footprint:
    parts = {name: asdict(each) for name, each in said.devices.items()}
    partly = device == "cpu+gpu"
    return Footprint(
        device,
        {name: each for name, each in parts.items() if sum(each.values())},
        fit.layers if partly else None,
        fit.of if partly else None,
        said.notes,
    )


_WRITERS = {"gguf": "native", "safetensors": "cast"}


def _as_known(runtime: str) -> str:
    """The runtime as its memory is known: Ollama computes with llama.cpp's library."""
    return _LLAMA_CPP if runtime == "ollama" else runtime
