"""Formats that are weighed: what makes each, what it takes and where, how fast it can be."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from qpipe.advice.hardware import AdvisedMachine
from qpipe.advice.needs import Needs
from qpipe.advice.rulebook import AdviceRule, Rulebook, Situation


@dataclass(frozen=True)
class Footprint:
    """Bytes that a model takes when it runs, by device and part, as `qpipe.memory` has it.

    ``device`` is where it computes: cpu, gpu or cpu+gpu; ``layers`` are those on the GPU of
    ``of_layers``, where it is shared.
    """

    device: str
    devices: Mapping[str, Mapping[str, int]]
    layers: int | None = None
    of_layers: int | None = None
    notes: tuple[str, ...] = ()

    def on(self, device: str) -> int:
        """Bytes on ``cpu`` or ``gpu``."""
        return sum(self.devices.get(device, {}).values())

    @property
    def total(self) -> int:
        """Bytes on all devices."""
        return sum(map(self.on, self.devices))


@dataclass(frozen=True)
class AdvisedSpeed:
    """Tokens a second of one request: measured, or the most that memory allows (``at_most``)."""

    tokens_per_second: float
    at_most: bool
    source: str

    def record(self) -> dict[str, Any]:
        """Its fields for a JSON answer."""
        return {
            "tokens_per_second": self.tokens_per_second,
            "at_most": self.at_most,
            "source": self.source,
        }


@dataclass(frozen=True)
class AdvisedFormat:
    """A format in a runtime: the section ``quantize`` that makes it, the engine that does, its
    files' bytes and bits per weight, and its footprint on this machine; ``lacks`` are the bytes by
    which it does not fit, 0 where it does."""

    format: str
    runtime: str
    quantize: Mapping[str, Any]
    engine: str
    size_bytes: int
    bits_per_weight: float
    footprint: Footprint
    lacks: int = 0
    speed: AdvisedSpeed | None = None
    rules: tuple[AdviceRule, ...] = field(default=())

    @property
    def method(self) -> str:
        """The method that makes it."""
        return str(self.quantize.get("method") or "none")

    @property
    def family(self) -> str:
        """The method as rules have it: ``gguf`` of a GGUF file that is not quantized, too."""
        return "gguf" if "via" in self.quantize else self.method

    @property
    def calibrated(self) -> bool:
        """True if it is made with an importance matrix or a calibration text."""
        own = self.method in ("gptq", "awq", "autoround", "exl2", "nvfp4")
        return own or any(rule.effect.imatrix for rule in self.rules)

    @property
    def points(self) -> int:
        """Return how far the rules take it up."""
        return sum(rule.effect.points for rule in self.rules)


def situation(
    candidate: AdvisedFormat, machine: AdvisedMachine, needs: Needs, book: Rulebook
) -> Situation:
    """Return what the rules are asked about a candidate."""
    device = candidate.footprint.device
    kind = machine.generation(book) if device != "cpu" else None
    return Situation(
        runtime=candidate.runtime,
        device=device,
        method=candidate.family,
        format=candidate.format,
        card="unknown" if kind is None else kind.card,
        vendor="unknown" if kind is None else kind.vendor,
        capability=None if kind is None else kind.capability,
        batch=needs.batch,
        goal=needs.goal,
    )


def overrides(candidate: AdvisedFormat) -> list[str]:
    """The words after the model's source by which a recipe makes the format."""
    method = candidate.method
    words = [] if method == "gguf" else [f"quantize={method}"]
    words += [f"quantize.{k}={_word(v)}" for k, v in candidate.quantize.items() if k != "method"]
    if any(rule.effect.imatrix for rule in candidate.rules):
        words += ["imatrix=calibrated", "calibration=wikitext-2"]
    elif candidate.calibrated:
        words += ["calibration=wikitext-2"]
    return words


def command(candidate: AdvisedFormat, source: str, *, measured: bool) -> str:
    """The command that makes a format of the model at ``source``; with ``measured`` it compares
    the result with the original too."""
    more = ["evaluate=kld", "text=wikitext-2"] if measured else ["evaluate=none"]
    words = ["qpipe", "run", "local", f"model.source={source}", *overrides(candidate), *more]
    return shlex.join(words)


def afterwards(candidate: AdvisedFormat) -> str | None:
    """The command that hands the model on to its runtime; None where that reads the files as they
    are."""
    if candidate.runtime not in ("ollama", "vllm"):
        return None
    return f"qpipe export latest --to {candidate.runtime} --out exported"


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)
