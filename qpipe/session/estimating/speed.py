"""Tokens a second, at most: by the bytes that are read for each, and by the operations.

Writing a token reads every active weight once, and the cache of all tokens before it; reading a
prompt takes two operations for each active weight. Nothing runs faster than memory is read
(Williams et al., Roofline, 2009); how near a runtime comes to that, it tells only when it runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qpipe.memory import RunMemory
from qpipe.memory.placement import CPU, GPU
from qpipe.runtimes.cards import Card
from qpipe.session.estimating.calibration import Calibration


@dataclass(frozen=True)
class SpeedBound:
    """Tokens a second at most, of all sequences together: writing them after a short prompt
    (``generation``) and at the end of the context (``generation_full``), and reading a prompt;
    None where operations a second are not known. ``basis`` says what by."""

    generation: float
    generation_full: float
    prompt: float | None
    basis: str


@dataclass(frozen=True)
class Rates:
    """Bytes and operations a second of a device, and where these figures are from."""

    bandwidth: float
    flops: float | None
    basis: str


def rates(cards: Sequence[Card], calibration: Calibration | None) -> dict[str, Rates]:
    """The rates of ``gpu`` and ``cpu``, as far as they are known. Layers on several cards compute
    one after the other, so that these are as fast as the slowest."""
    known: dict[str, Rates] = {}
    bandwidths = [card.bandwidth for card in cards if card.bandwidth is not None]
    if cards and len(bandwidths) == len(cards):
        flops = [card.flops for card in cards if card.flops is not None]
        name = ", ".join(dict.fromkeys(card.name for card in cards))
        compute = min(flops) if len(flops) == len(cards) else None
        known[GPU] = Rates(min(bandwidths), compute, f"{name} by its data sheet")
    if calibration is not None:
        basis = f"{calibration.cores} cores of this machine as `qpipe doctor --calibrate` measured"
        known[CPU] = Rates(calibration.bandwidth, calibration.flops, basis)
    return known


def speed(
    memory: RunMemory, weights: int, known: Mapping[str, Rates], *, sequences: int
) -> SpeedBound | None:
    """The speed of a model of so many ``weights``, which are read once for a token of each of
    ``sequences`` (of experts those that any of these is expected to choose); None where a device
    that it is on has no rates."""
    # The host of a GPU holds the table of tokens and buffers, and computes no layer.
    computing = [name for name, parts in memory.devices.items() if parts.kv_cache or parts.states]
    if not computing or not all(name in known for name in computing):
        return None
    share = memory.active_weights / max(1, memory.weights)
    # The table of tokens may lie on a device that computes nothing.
    there = sum(memory.devices[name].weights for name in computing)
    read = min(1.0, memory.read_weights / max(1, there))
    short = full = 0.0
    for name in computing:
        parts, rate = memory.devices[name], known[name].bandwidth
        short += parts.weights * read / rate
        full += (parts.weights * read + parts.kv_cache + parts.states) / rate
    prompt = _prompt(memory, weights * share, [known[name] for name in computing], computing)
    basis = "; ".join(known[name].basis for name in computing)
    return SpeedBound(sequences / short, sequences / full, prompt, basis)


def _prompt(
    memory: RunMemory, active: float, of: Sequence[Rates], names: Sequence[str]
) -> float | None:
    """Tokens a second of a prompt: each device has its part of the operations."""
    seconds = 0.0
    for name, rate in zip(names, of, strict=True):
        if rate.flops is None:
            return None
        part = memory.devices[name].weights / max(1, memory.weights)
        seconds += 2 * active * part / rate.flops
    return 1 / seconds if seconds else None
