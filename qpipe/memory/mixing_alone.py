"""The graph of models whose layers mix tokens and do nothing else (Mamba, Mamba 2).

Source: llama.cpp 0.6.0-dev, src/models/mamba.cpp.
"""

from __future__ import annotations

from qpipe.memory.arena import PlacedTensor
from qpipe.memory.geometry import LayerGeometry
from qpipe.memory.graph import LayerGraphs
from qpipe.memory.mixers import MixerGraphs

ARCHS = ("mamba", "mamba2")


class MixingGraphs(LayerGraphs):
    """Builds such a graph."""

    def _layer(
        self, layer: LayerGeometry, x: PlacedTensor, mixing: MixerGraphs, rows: PlacedTensor
    ) -> PlacedTensor:
        mixed = mixing.mixed(layer, self._norm(x))
        if mixing.upcoming is None:
            self.tokens = self.setting.n_outputs
            mixed, x = self._op(self.hidden, mixed, rows), self._op(self.hidden, x, rows)
        return self.graph.inplace(mixed, x)
