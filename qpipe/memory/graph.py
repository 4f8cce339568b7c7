"""The graph that llama.cpp computes a batch by, as far as the sizes of its tensors go.

Source: llama.cpp 0.6.0-dev, src/llama-graph.cpp (build_inp_embd, build_qkv, build_attn,
build_attn_mha, build_ffn, build_moe_ffn) and src/models/.
"""

from __future__ import annotations

from collections import Counter

from qpipe.memory import cache, mixers
from qpipe.memory.arena import PlacedTensor, TensorGraph
from qpipe.memory.geometry import Geometry, LayerGeometry
from qpipe.memory.mixers import MixerGraphs
from qpipe.memory.setting import RunSetting

_F32, _F16, _I32, _I64 = 4, 2, 4, 8
_ENOUGH = 6
# Architectures whose feed-forward networks have no gate (src/models: build_ffn without one).
_UNGATED = ("gpt2", "gptneox", "bloom", "phi2", "starcoder", "starcoder2", "falcon", "mpt", "jais")
_JOINT = ("phi3", "chatglm")  # gate and up in one matrix
_RESIDUAL_FIRST = ("lfm2", "lfm2moe")  # the sum is written where the layer's input was
# Experts with biases (openai-moe.cpp), and the one that weighs before the network (llama4).
_BIASED, _WEIGHED_FIRST = ("gpt-oss",), ("llama4",)


class LayerGraphs:
    """Builds the graph of a model in a setting."""

    def __init__(self, model: Geometry, setting: RunSetting) -> None:
        self.model, self.setting = model, setting
        self.graph = TensorGraph()
        self.tokens = setting.n_ubatch
        self.hidden = model.hidden

    def bytes(self) -> int:
        """Bytes of the buffer."""
        mixing, rows, x = self._inputs()
        layers = self._telling()
        mixing.upcoming = layers[0][0] if layers else None
        mixing.gather()
        for index, (layer, sparse) in enumerate(layers):
            mixing.sparse = sparse
            mixing.upcoming = layers[index + 1][0] if index + 1 < len(layers) else None
            x = self._layer(layer, x, mixing, rows)
        self._output(x)
        return self.graph.peak()

    def inputs_bytes(self) -> int:
        """Bytes of what is there before anything is computed, and of the tokens' embeddings."""
        self._inputs()
        return sum(each.size for each in self.graph.inputs) + self._numbers(self.hidden)

    def _numbers(self, width: int) -> int:
        return self.tokens * width * _F32

    def _op(self, width: int, *sources: PlacedTensor) -> PlacedTensor:
        return self.graph.op(self._numbers(width), *sources)

    def _inputs(self) -> tuple[MixerGraphs, PlacedTensor, PlacedTensor]:
        graph, tokens = self.graph, self.tokens
        ids = graph.input(tokens * _I32)
        graph.input(self._numbers(self.hidden))  # embeddings in place of tokens, used or not
        mixed_ids = graph.input(tokens * _I32)
        slots = graph.input(tokens * _I64)
        mixed = graph.input(self._numbers(self.hidden))
        positions = graph.input(tokens * _I32)
        masks = {window: graph.input(size) for window, size in self.masks().items()}
        self._inputs_of_caches()
        rows = graph.input(self.setting.n_outputs * _I32)
        x = self._op(self.hidden, ids)
        other = self._op(self.hidden, mixed_ids)
        copy = self._op(self.hidden, mixed)
        graph.nodes.append(PlacedTensor(0, (copy, other, slots), root=copy))
        mixing = MixerGraphs(self.model, self.setting, graph, positions, masks)
        return mixing, rows, x

    def _inputs_of_caches(self) -> None:
        """Hadamard's matrices for caches that are quantized, and without flash attention where in
        the cache each number goes, for it is transposed: of each kind of cache once."""
        layers = {bool(layer.window): layer for layer in self.model.layers if layer.keys}
        for layer in layers.values():
            if not self.setting.flash and layer.values:
                self.graph.input(self.tokens * self.model.widest_values * _I64)
            key, value = mixers.head_sizes(self.model, layer)
            if mixers.is_rotated(self.setting.type_k, key):
                self.graph.input((key & -key) ** 2 * _F32)
            if layer.values and mixers.is_rotated(self.setting.type_v, value):
                self.graph.input(64**2 * _F32)

    def masks(self) -> dict[int, int]:
        """Bytes of the mask of layers with each window."""
        number = _F16 if self.setting.flash else _F32
        windows = {layer.window: layer for layer in self.model.kinds if layer.keys}
        return {
            window: cache.cells(layer, self.setting) * self.tokens * number
            for window, layer in sorted(windows.items())
        }

    def _norm(self, x: PlacedTensor) -> PlacedTensor:
        return self.graph.inplace(self.graph.inplace(x))

    def _layer(
        self, layer: LayerGeometry, x: PlacedTensor, mixing: MixerGraphs, rows: PlacedTensor
    ) -> PlacedTensor:
        mixed = mixing.mixed(layer, self._norm(x))
        if mixing.upcoming is None:  # of the last layer only the outputs are computed further
            self.tokens = self.setting.n_outputs
            mixed, x = self._op(self.hidden, mixed, rows), self._op(self.hidden, x, rows)
        residual = self._added(mixed, x)
        out = self._feed_forward(self._norm(residual), mixing)
        return self._added(out, residual)

    def _added(self, x: PlacedTensor, residual: PlacedTensor) -> PlacedTensor:
        first, second = (residual, x) if self.model.arch in _RESIDUAL_FIRST else (x, residual)
        return self.graph.inplace(first, second)

    def _experts(self) -> int:
        return self.model.sizes.get("expert_count", 0)

    def _feed_forward(self, x: PlacedTensor, mixing: MixerGraphs) -> PlacedTensor:
        if not mixing.sparse:
            return self._gated(x, self.model.sizes.get("feed_forward_length", 4 * self.hidden))
        out = self._sparse(x)
        mixing.gather()
        if shared := self._shared():
            out = self.graph.inplace(out, self._gated(x, shared))
        return out

    def _gated(self, x: PlacedTensor, width: int) -> PlacedTensor:
        if self.model.arch in _UNGATED:
            return self._op(self.hidden, self.graph.inplace(self._op(width, x)))
        if self.model.arch in _JOINT:
            return self._op(self.hidden, self._op(width, self._op(2 * width, x)))
        gate, up = self._op(width, x), self._op(width, x)
        return self._op(self.hidden, self._op(width, gate, up))

    def _sparse(self, x: PlacedTensor) -> PlacedTensor:
        graph, sizes = self.graph, self.model.sizes
        count, used = self._experts(), sizes.get("expert_used_count", 1)
        width = sizes.get("expert_feed_forward_length") or sizes.get("feed_forward_length", 0)
        probabilities = graph.inplace(self._op(count, x))
        chosen = graph.view(self._op(count, probabilities))
        weights = self._op(used, graph.view(probabilities), chosen)
        total = graph.inplace(self._op(1, graph.view(weights)))
        weights = graph.view(graph.inplace(graph.view(weights), total))
        rows = graph.view(x)
        if self.model.arch in _WEIGHED_FIRST:
            rows = graph.inplace(self._op(used * self.hidden, rows), weights)
        gate, up = self._op(used * width, rows, chosen), self._op(used * width, rows, chosen)
        if self.model.arch in _BIASED:
            gate, up = graph.inplace(gate, chosen), graph.inplace(up, chosen)
        out = self._op(used * self.hidden, self._op(used * width, gate, up), chosen)
        out = graph.inplace(
            graph.inplace(out, chosen) if self.model.arch in _BIASED else out, weights
        )
        each = [graph.view(out) for _ in range(used)]
        if used == 1:
            merged = self._op(self.hidden, each[0])
        else:
            merged = self._op(self.hidden, each[0], each[1])
            for further in each[2:]:
                merged = graph.inplace(merged, further)
        return merged

    def _shared(self) -> int:
        sizes = self.model.sizes
        if width := sizes.get("expert_shared_feed_forward_length", 0):
            return width
        return sizes.get("expert_shared_count", 0) * sizes.get("expert_feed_forward_length", 0)

    def _output(self, x: PlacedTensor) -> None:
        self._op(self.model.vocabulary, self._norm(x))

    def _telling(self) -> list[tuple[LayerGeometry, bool]]:
        """Layers, and whether they have experts: six of each kind, by when holes are where they
        stay, and the last."""
        seen: Counter[tuple[LayerGeometry, bool]] = Counter()
        telling = []
        for index, layer in enumerate(self.model.layers):
            entry = layer, self._is_sparse(index)
            seen[entry] += 1
            if seen[entry] <= _ENOUGH or index + 1 == len(self.model.layers):
                telling.append(entry)
        return telling

    def _is_sparse(self, index: int) -> bool:
        sizes = self.model.sizes
        if not self._experts() or index < sizes.get("leading_dense_block_count", 0):
            return False
        step = sizes.get("interleave_moe_layer_step", 1)
        return (index + 1) % max(step, 1) == 0
