"""The graph of Gemma 3n: several streams of hidden states, of which each layer computes one and
predicts and corrects the others (AltUp), beside a low-rank path (Laurel).

Source: llama.cpp 0.6.0-dev, src/models/gemma3n.cpp.
"""

from __future__ import annotations

from qpipe.memory.arena import PlacedTensor
from qpipe.memory.graph import LayerGraphs
from qpipe.memory.layer_inputs import LayerInputGraphs
from qpipe.memory.mixers import MixerGraphs

_LAUREL = 64  # llama_model_gemma3n: laurel_rank
_SPARSE = 10  # n_layer_sparsity


class AltUpGraphs(LayerInputGraphs):
    """Builds the graph of such a model, tensors in the order in which ggml visits them."""

    @property
    def _streams(self) -> int:
        return self.model.sizes["altup.num_inputs"]

    def _inputs(self) -> tuple[MixerGraphs, PlacedTensor, PlacedTensor]:
        mixing, rows, x = LayerGraphs._inputs(self)
        self._embedded = self.graph.inplace(x)
        ids = self.graph.input(self.tokens * 4)
        looked_up = self._op(self._narrow * len(self.model.layers), ids)
        self._of_tokens = self.graph.inplace(self.graph.view(looked_up))
        return mixing, rows, self._embedded

    def _scaled_tokens(self, looked_up: PlacedTensor) -> PlacedTensor:
        return looked_up

    def bytes(self) -> int:
        """Bytes of the buffer."""
        graph = self.graph
        mixing, rows, x = self._inputs()
        streams = self._stacked(x)
        for index, layer in enumerate(self.model.layers):
            predicted = self._predicted(streams)
            active = self._stream(predicted)
            normed = self._norm(active)
            mixed = self._norm(mixing.mixed(layer, normed))
            gated = graph.inplace(mixed, active)
            merged = graph.inplace(graph.inplace(gated, self._laurel(normed)))
            activated = graph.inplace(self._sparse_forward(merged, index < _SPARSE), merged)
            corrected = self._corrected(predicted, activated)
            kept = self._stream(corrected)
            first = self._op(self._narrow, graph.inplace(self._stream(corrected)))
            first = graph.inplace(first)
            first = graph.inplace(first, graph.view(self._of_layers(), first.size))
            first = self._norm(self._op(self.hidden, first))
            rest = self._op((self._streams - 1) * self.hidden, graph.view(corrected), first)
            streams = self._op(self._streams * self.hidden, kept, rest)
        self._merged(streams, rows)
        return graph.peak()

    def _stream(self, streams: PlacedTensor) -> PlacedTensor:
        """One of the streams."""
        return self.graph.view(streams, self._numbers(self.hidden))

    def _magnitude(self, x: PlacedTensor, streams: int) -> PlacedTensor:
        return self.graph.inplace(self._op(streams, self.graph.inplace(x)))

    def _scaled(self, x: PlacedTensor, target: PlacedTensor) -> PlacedTensor:
        """Other streams with the magnitude of the active one: ``target`` as it comes."""
        others = self._streams - 1
        product = self.graph.inplace(x, self._magnitude(target, 1))
        return self.graph.inplace(product, self._magnitude(x, others))

    def _stacked(self, x: PlacedTensor) -> PlacedTensor:
        others = (self._streams - 1) * self.hidden
        added = self._scaled(self._op(others, self._op(others, x)), x)
        return self._op(self._streams * self.hidden, x, added)

    def _router(self, x: PlacedTensor) -> PlacedTensor:
        return self.graph.inplace(self._op(self._streams, self.graph.inplace(self._norm(x))))

    def _predicted(self, streams: PlacedTensor) -> PlacedTensor:
        graph, width = self.graph, self._streams * self.hidden
        turned = self._op(width, graph.view(streams))
        factors = self._op(self._streams**2, self._router(self._stream(streams)))
        product = self._op(width, turned, graph.view(factors))
        return graph.inplace(self._op(width, graph.view(product)), streams)

    def _laurel(self, x: PlacedTensor) -> PlacedTensor:
        return self.graph.inplace(self._norm(self._op(self.hidden, self._op(_LAUREL, x))), x)

    def _sparse_forward(self, x: PlacedTensor, sparse: bool) -> PlacedTensor:
        graph, width = self.graph, self.model.sizes["feed_forward_length"]
        normed = self._norm(x)
        up, gate = self._op(width, normed), self._op(width, normed)
        if sparse:  # what is not far enough above the mean is left out
            mean = self._op(1, gate)
            spread = self._op(1, graph.inplace(graph.inplace(gate, mean)))
            cutoff = graph.inplace(mean, graph.inplace(graph.inplace(graph.inplace(spread))))
            gate = graph.inplace(graph.inplace(gate, cutoff))
        gate = graph.inplace(gate)
        return self._norm(self._op(self.hidden, graph.inplace(up, gate)))

    def _corrected(self, predicted: PlacedTensor, activated: PlacedTensor) -> PlacedTensor:
        graph, width = self.graph, self._streams * self.hidden
        innovation = graph.inplace(activated, self._stream(predicted))
        repeated = self._op(width, innovation)
        factors = graph.inplace(self._op(self._streams, self._router(activated)))
        product = graph.inplace(repeated, self._op(self._streams, graph.view(factors)))
        return graph.inplace(product, predicted)

    def _merged(self, streams: PlacedTensor, rows: PlacedTensor) -> None:
        graph, others = self.graph, self._streams - 1
        first = self._stream(streams)
        unfolded = self._op(others * self.hidden, graph.view(streams))
        unfolded = self._scaled(unfolded, self._stream(streams))
        merged = self._op(self.hidden, first, self._stream(unfolded))
        for _ in range(others - 1):
            merged = graph.inplace(merged, self._stream(unfolded))
        merged = graph.inplace(merged)
        self.tokens = self.setting.n_outputs
        self._output(self._op(self.hidden, merged, rows))
