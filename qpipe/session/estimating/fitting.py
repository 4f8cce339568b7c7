"""Whether a model fits, how many of its layers do, and the longest context with which it does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from qpipe.memory import Geometry, MemoryParts, RunMemory, RunSetting, Weights, placement
from qpipe.memory.estimate import of_geometry
from qpipe.memory.placement import CPU, GPU
from qpipe.runtimes import overheads

Answer = Literal["gpu", "cpu", "partly", "no"]

_STEP = 256
_MOST = 1 << 20


@dataclass(frozen=True)
class Fit:
    """The ``answer``: all on the ``gpu``, on the ``cpu``, ``partly`` on the GPU with so many
    ``layers`` (the output counts as one) of ``of``, or ``no``; None where no bound is known.

    ``lacking`` are the bytes that are missing for ``gpu`` or ``cpu``. ``context`` is the longest
    with which all fits there, 0 if none does; None where no bound is known.
    """

    answer: Answer | None
    layers: int | None = None
    of: int | None = None
    lacking: int = 0
    context: int | None = None


class Room:
    """The memory that a model takes in one runtime's setting, whatever its format, and its bounds.

    Shared by all formats, whose weights alone differ.
    """

    def __init__(
        self, model: Geometry, setting: RunSetting, *, cards: int, ram: int | None, most: int | None
    ) -> None:
        """``cards`` have ``setting.gpu_memory`` bytes together; ``most`` is the longest context
        that is looked at."""
        self.model, self.setting, self.cards, self.ram = model, setting, cards, ram
        self._most = most or _MOST
        self._beside: dict[tuple[int, int], RunMemory] = {}
        self._at: dict[str, dict[int, int]] = {}

    def place(self, weights: Weights) -> tuple[RunMemory, Fit]:
        """The memory of a format with these weights, and whether it fits."""
        if self._on_gpu:
            return self._on_cards(weights)
        memory = self._memory(weights, 0)
        if self.ram is None:
            return memory, Fit(None)
        lacking = max(0, memory.total - self.ram)
        longest = self._longest(self._weights_on(weights, CPU, 0), CPU, self._ram)
        return memory, Fit("no" if lacking else "cpu", lacking=lacking, context=longest)

    @property
    def _on_gpu(self) -> bool:
        return self.cards > 0 or self.setting.runtime in ("vllm", "exllama")

    @property
    def _ram(self) -> int:
        return self.ram or 0

    @cached_property
    def _room(self) -> int:
        """Bytes that may be used of all cards."""
        memory = self.setting.gpu_memory or 0
        return int(memory * self.setting.gpu_share) if self.setting.runtime == "vllm" else memory

    def _on_cards(self, weights: Weights) -> tuple[RunMemory, Fit]:
        memory = self._memory(weights, -1)
        if not self.setting.gpu_memory:
            return memory, Fit(None)
        lacking = max(0, memory.devices[GPU].total - self._room)
        longest = self._longest(memory.devices[GPU].weights, GPU, self._room)
        if not lacking:
            return memory, Fit("gpu", context=longest)
        whole = len(self.model.layers) + 1
        layers = self._layers(weights, whole) if self.setting.runtime == "llama.cpp" else 0
        partly = self._memory(weights, layers) if layers else memory
        if not layers or (self.ram is not None and partly.devices[CPU].total > self.ram):
            return memory, Fit("no", of=whole, lacking=lacking, context=longest)
        return partly, Fit("partly", layers, whole, lacking, longest)

    def _layers(self, weights: Weights, whole: int) -> int:
        """The most layers that fit on the cards."""
        least, most = 0, whole - 1
        while least < most:
            middle = (least + most + 1) // 2
            if self._taken(weights, middle) <= self._room:
                least = middle
            else:
                most = middle - 1
        return least

    def _longest(self, weights: int, device: str, room: int) -> int:
        """The longest context with which all fits on a device with bytes of ``weights``, in steps
        of 256 tokens."""
        first, last = _STEP, max(1, self._most // _STEP) * _STEP
        left = room - weights
        if self._beside_at(device, last) <= left or self._beside_at(device, first) > left:
            return last if self._beside_at(device, last) <= left else 0
        # Other formats have asked before: what is known is nearer than both ends.
        known = self._at[device]
        least = max(tokens for tokens, size in known.items() if size <= left)
        most = min(tokens for tokens, size in known.items() if size > left)
        halve = False
        while most - least > _STEP:
            # Nearly linear, so that the line through both ends mostly hits.
            share = 0.5 if halve else (left - known[least]) / (known[most] - known[least])
            guess = least + int((most - least) * share) // _STEP * _STEP
            guess = min(max(guess, least + _STEP), most - _STEP)
            fits = self._beside_at(device, guess) <= left
            near = (guess - least) * 2 < most - least
            least, most = (guess, most) if fits else (least, guess)
            halve = near == fits and not halve
        return least

    def _beside_at(self, device: str, tokens: int) -> int:
        """Bytes beside the weights with so many tokens of context, all layers on a device."""
        known = self._at.setdefault(device, {})
        if tokens not in known:
            layers = -1 if device == GPU else 0
            known[tokens] = self._without_weights(layers, tokens).devices[device].total
        return known[tokens]

    def _taken(self, weights: Weights, layers: int) -> int:
        """Bytes on the cards with so many ``layers`` on them."""
        beside = self._without_weights(layers, self.setting.context).devices[GPU].total
        return beside + self._weights_on(weights, GPU, layers)

    def _weights_on(self, weights: Weights, device: str, layers: int) -> int:
        places = placement.devices(self._with(layers), len(self.model.layers))
        on_cpu = self.setting.runtime == "llama.cpp"
        return placement.weight_bytes(device, weights, places, table_on_cpu=on_cpu)

    def _memory(self, weights: Weights, layers: int) -> RunMemory:
        """The memory with so many layers on the GPU."""
        beside = self._without_weights(layers, self.setting.context)
        devices = {
            device: replace(parts, weights=self._weights_on(weights, device, layers))
            for device, parts in beside.devices.items()
        }
        return replace(
            beside,
            devices=devices,
            active_weights=weights.active,
            read_weights=weights.read(self.setting.sequences),
        )

    def _without_weights(self, layers: int, tokens: int) -> RunMemory:
        key = layers, tokens
        if key not in self._beside:
            setting = replace(self._with(layers), context=tokens)
            memory = of_geometry(self.model, setting, Weights(0))
            devices = {name: self._overhead(name, each) for name, each in memory.devices.items()}
            self._beside[key] = replace(memory, devices=devices)
        return self._beside[key]

    def _overhead(self, device: str, parts: MemoryParts) -> MemoryParts:
        """Add what the runtime itself takes, on the device that is computed on."""
        if device == GPU and not self._on_gpu:
            return parts
        count = max(1, self.cards) if device == GPU else 1
        known = overheads.known_bytes(self.setting.runtime, device) * count
        return replace(parts, overhead=parts.overhead + known)

    def _with(self, layers: int) -> RunSetting:
        return replace(self.setting, layers_offloaded=layers)
