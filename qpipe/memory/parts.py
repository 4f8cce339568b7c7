"""Memory by part and device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from qpipe.memory.geometry import Kind


@dataclass(frozen=True)
class MemoryParts:
    """Bytes on one device: ``weights``; ``kv_cache``, keys and values of tokens; ``states``, what
    other layers keep of a sequence; ``compute``, intermediate results and logits; ``overhead``, the
    runtime itself, and what it takes beforehand."""

    weights: int = 0
    kv_cache: int = 0
    states: int = 0
    compute: int = 0
    overhead: int = 0

    @property
    def total(self) -> int:
        """All of it."""
        return sum(getattr(self, field.name) for field in fields(self))


@dataclass(frozen=True)
class LayerMemory:
    """One layer's share: bytes of its ``cache`` and of its ``states``, and the device on which
    it is; ``window`` tokens at most where that is not 0, in ``cells`` of a stream."""

    index: int
    kind: Kind
    device: str
    cache: int
    states: int
    window: int
    cells: int


@dataclass(frozen=True)
class RunMemory:
    """Memory of a model when it runs, in bytes, by ``devices``: ``cpu`` and ``gpu``.

    ``active_weights`` are the bytes of weights that are read for one token: with experts less than
    all; ``read_weights`` those for a token of each sequence. ``reserved`` are the bytes that vLLM
    takes of the GPU whatever it needs: what is left is more cache. ``notes`` tell what was assumed.
    """

    devices: Mapping[str, MemoryParts]
    caches: tuple[LayerMemory, ...]
    active_weights: int
    read_weights: int
    reserved: int = 0
    notes: tuple[str, ...] = ()

    def layers(self) -> tuple[LayerMemory, ...]:
        """The share of each layer, from the first."""
        return self.caches

    def by_kind(self) -> dict[Kind, tuple[int, int, int]]:
        """(layers, bytes of their cache, bytes of their states) for each kind of layer."""
        kinds: dict[Kind, tuple[int, int, int]] = {}
        for layer in self.caches:
            count, cache, states = kinds.get(layer.kind, (0, 0, 0))
            kinds[layer.kind] = (count + 1, cache + layer.cache, states + layer.states)
        return kinds

    @property
    def weights(self) -> int:
        """Bytes of all weights, on all devices."""
        return self._sum("weights")

    @property
    def kv_cache(self) -> int:
        """Bytes of keys and values, on all devices."""
        return self._sum("kv_cache")

    @property
    def states(self) -> int:
        """Bytes of states, on all devices."""
        return self._sum("states")

    @property
    def compute(self) -> int:
        """Bytes of intermediate results, on all devices."""
        return self._sum("compute")

    @property
    def overhead(self) -> int:
        """Bytes of the runtime itself, on all devices."""
        return self._sum("overhead")

    @property
    def total(self) -> int:
        """Bytes of everything, on all devices."""
        return sum(parts.total for parts in self.devices.values())

    def _sum(self, part: str) -> int:
        return sum(getattr(parts, part) for parts in self.devices.values())
