"""The geometry of a model: what each layer keeps of each token, and of each sequence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

Kind = Literal[
    "full attention",
    "sliding window",
    "chunked attention",
    "latent attention",
    "linear attention",
    "state space",
    "short convolution",
    "attention and state space",
    "none",
]


@dataclass(frozen=True)
class LayerGeometry:
    """All that a layer keeps: ``keys`` and ``values`` numbers of each token, of the last ``window``
    ones where that is not 0, and ``indexer`` numbers more for choosing among them; ``rolling`` and
    ``recurrent`` numbers of each sequence, the last inputs of a convolution and the state.
    ``shared`` is the layer whose keys and values it reads, where it keeps none."""

    kind: Kind
    keys: int = 0
    values: int = 0
    window: int = 0
    indexer: int = 0
    rolling: int = 0
    recurrent: int = 0
    shared: int | None = None


@dataclass(frozen=True)
class Geometry:
    """A model's layers without those that predict further tokens, and its ``sizes`` by their names
    in GGUF (``embedding_length``), lists taken by their largest.

    ``arch`` is its name in GGUF, empty where it was read from config.json's usual fields;
    ``windows`` are those of config.json, which llama.cpp does not all compute; ``notes`` tell what
    is assumed.
    """

    arch: str
    layers: tuple[LayerGeometry, ...]
    vocabulary: int
    hidden: int
    sizes: Mapping[str, int] = field(default_factory=dict, hash=False)
    windows: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    @cached_property
    def kinds(self) -> tuple[LayerGeometry, ...]:
        """Layers that differ, each once: most are alike."""
        return tuple(dict.fromkeys(self.layers))

    @cached_property
    def widest_values(self) -> int:
        """The most numbers of values that a layer keeps of a token."""
        return max((layer.values for layer in self.kinds), default=0)
