"""The graph of models whose layers are each given something of the token beside what the layer
before made of it (Gemma 3n, Gemma 4 E).

Source: llama.cpp 0.6.0-dev, src/models/gemma4.cpp (build_inp_per_layer, project_per_layer_inputs).
"""

from __future__ import annotations

from qpipe.memory.arena import PlacedTensor
from qpipe.memory.geometry import Geometry, LayerGeometry
from qpipe.memory.graph import LayerGraphs
from qpipe.memory.mixers import MixerGraphs
from qpipe.memory.setting import RunSetting

WIDTH = "embedding_length_per_layer_input"


class LayerInputGraphs(LayerGraphs):
    """Builds such a graph, tensors in the order in which ggml visits them."""

    def __init__(self, model: Geometry, setting: RunSetting) -> None:
        super().__init__(model, setting)
        self._narrow = model.sizes[WIDTH]
        self._of_tokens: PlacedTensor | None = None
        self._embedded: PlacedTensor | None = None
        self._given: PlacedTensor | None = None

    def _inputs(self) -> tuple[MixerGraphs, PlacedTensor, PlacedTensor]:
        ids = self.graph.input(self.tokens * 4)
        self._of_tokens = self._op(self._narrow * len(self.model.layers), ids)
        mixing, rows, x = super()._inputs()
        self._embedded = self.graph.inplace(x)
        return mixing, rows, self._embedded

    def _scaled_tokens(self, looked_up: PlacedTensor) -> PlacedTensor:
        return self.graph.view(self.graph.inplace(looked_up))

    def _of_layers(self) -> PlacedTensor:
        """The inputs of all layers, computed for the first."""
        if self._given is None:
            assert self._embedded is not None and self._of_tokens is not None
            graph, width = self.graph, self._narrow * len(self.model.layers)
            projection = graph.view(graph.inplace(self._op(width, self._embedded)))
            normed = self._norm(projection)
            summed = graph.inplace(graph.inplace(normed, self._scaled_tokens(self._of_tokens)))
            self._given = self._op(width, graph.view(summed))
        return self._given

    def _layer(
        self, layer: LayerGeometry, x: PlacedTensor, mixing: MixerGraphs, rows: PlacedTensor
    ) -> PlacedTensor:
        graph, x = self.graph, super()._layer(layer, x, mixing, rows)
        gate = graph.inplace(self._op(self._narrow, x))
        own = self.setting.n_ubatch * self._narrow * 4
        given = graph.view(self._of_layers(), own)
        if mixing.upcoming is None:
            given = self._op(self._narrow, given, rows)
        out = self._norm(self._op(self.hidden, graph.inplace(gate, given)))
        return graph.inplace(graph.inplace(x, out))
