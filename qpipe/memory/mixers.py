"""How layers mix tokens: each kind's tensors, in the order in which llama.cpp computes them.

Source: llama.cpp 0.6.0-dev, src/llama-graph.cpp (build_attn_mha, build_rs); src/models/:
deepseek2.cpp, mamba-base.cpp (build_mamba2_layer), qwen3next.cpp, delta-net-base.cpp, lfm2.cpp.
"""

from __future__ import annotations

from dataclasses import dataclass

from qpipe.gguf.types import GGMLType
from qpipe.memory import cache
from qpipe.memory.arena import PlacedTensor, TensorGraph
from qpipe.memory.geometry import Geometry, LayerGeometry
from qpipe.memory.setting import RunSetting

_F32 = 4
_JOINT = ("phi3", "phi2", "gptneox", "bloom", "falcon", "mpt", "starcoder", "gpt2", "chatglm")
_UNTURNED = ("jamba", "nemotron_h", "nemotron_h_moe")
_NORMED_VALUES = ("gemma3n", "gemma4")
SELECTIVE = ("mamba", "jamba")
_GATED_ATTENTION = ("qwen3next", "qwen35", "qwen35moe")  # a gate as wide as the queries


@dataclass
class MixerGraphs:
    """Adds a layer's mixer to ``graph``: of the normalized tokens to their mixture.

    ``upcoming`` is the layer after it: what that keeps of the last inputs is gathered as soon as
    it is built, before this one's last steps are computed, but after its experts (``sparse``).
    """

    model: Geometry
    setting: RunSetting
    graph: TensorGraph
    positions: PlacedTensor
    masks: dict[int, PlacedTensor]
    upcoming: LayerGeometry | None = None
    sparse: bool = False
    _kept: PlacedTensor | None = None

    def gather(self) -> None:
        """Gather what the upcoming layer keeps of the last inputs, once."""
        layer = self.upcoming
        if layer is not None and layer.rolling and self._kept is None:
            self._kept = self._gathered(layer.rolling)

    def _early(self) -> None:
        """Gather before the last steps where nothing of the feed-forward network comes first."""
        if not self.sparse:
            self.gather()

    def _taken(self) -> PlacedTensor:
        """The inputs that were gathered for this layer."""
        kept, self._kept = self._kept, None
        assert kept is not None
        return kept

    def mixed(self, layer: LayerGeometry, x: PlacedTensor) -> PlacedTensor:
        """The mixture that the layer makes of the tokens ``x``."""
        if layer.kind == "none":
            return self._op(self.model.hidden, x)
        if layer.recurrent or layer.rolling:
            state = self._state(layer, x)
            if not layer.keys:
                return state
            return self.graph.inplace(state, self._attention(layer, x))
        if layer.kind == "latent attention":
            return self._latent(layer, x)
        return self._attention(layer, x)

    def _size(self, name: str, default: int = 0) -> int:
        return self.model.sizes.get(name, default)

    def _op(self, width: int, *sources: PlacedTensor, beside: int = 0) -> PlacedTensor:
        """``width`` numbers for each token, and some ``beside``."""
        return self.graph.op((self.setting.n_ubatch * width + beside) * _F32, *sources)

    def _attention(self, layer: LayerGeometry, x: PlacedTensor) -> PlacedTensor:
        graph, heads = self.graph, self._size("attention.head_count")
        key, value = head_sizes(self.model, layer)
        gated = self.model.arch in _GATED_ATTENTION
        if self.model.arch in _JOINT:
            return self._joint(layer, x)
        whole = self._op(heads * key * (2 if gated else 1), x)
        turned = self._is_turned()
        q = self._op(heads * key, graph.view(whole), self.positions) if turned else whole
        if layer.shared is None:
            if len(self.masks) > 1:  # with two kinds of cache keys come first (build_attn)
                k, v = self._keys(layer, x, turned), self._values(layer, x)
            else:
                v, k = self._values(layer, x), self._keys(layer, x, turned)
            q, k, v = self._rotated(layer, q, k, v)
            graph.stored(graph.view(k))
            if not self.setting.flash and layer.values < self.model.widest_values:
                v = self._op(self.model.widest_values, graph.view(v))  # padded
            graph.stored(graph.view(v))
        out = self._scored(layer, q, heads * value)
        self._early()
        if is_rotated(self.setting.type_v, value):
            out = self._op(heads * value, out)
        if gated:
            gate = graph.inplace(self._op(heads * value, graph.view(whole)))
            out = graph.inplace(gate, out)
        return self._op(self.model.hidden, out)

    def _keys(self, layer: LayerGeometry, x: PlacedTensor, turned: bool) -> PlacedTensor:
        k = self.graph.view(self._op(layer.keys, x))
        return self._op(layer.keys, k, self.positions) if turned else k

    def _values(self, layer: LayerGeometry, x: PlacedTensor) -> PlacedTensor:
        v = self.graph.view(self._op(layer.values, x))
        return self._op(layer.values, v) if self.model.arch in _NORMED_VALUES else v

    def _joint(self, layer: LayerGeometry, x: PlacedTensor) -> PlacedTensor:
        """Attention whose queries, keys and values come of one matrix."""
        graph, heads = self.graph, self._size("attention.head_count")
        key, value = head_sizes(self.model, layer)
        whole = self._op(heads * key + layer.keys + layer.values, x)
        turned = self.positions
        q = self._op(heads * key, graph.view(whole), turned)
        v = graph.view(whole)
        k = self._op(layer.keys, graph.view(whole), turned)
        graph.stored(graph.view(k))
        graph.stored(v if self.setting.flash else self._op(layer.values, v))
        return self._op(self.model.hidden, self._scored(layer, q, heads * value))

    def _is_turned(self) -> bool:
        """False of layers without RoPE, which takes a place of its own."""
        switch = self._size("rope.scaling.finetuned", 1)
        return self.model.arch not in _UNTURNED and (
            self.model.arch != "granitehybrid" or switch > 0
        )

    def _rotated(
        self, layer: LayerGeometry, q: PlacedTensor, k: PlacedTensor, v: PlacedTensor
    ) -> tuple[PlacedTensor, PlacedTensor, PlacedTensor]:
        """Queries, keys and values as a quantized cache has them, turned by Hadamard's matrix
        where heads are whole multiples of 64 (llama_kv_cache, attn_rot_k)."""
        key, value = head_sizes(self.model, layer)
        if is_rotated(self.setting.type_k, key):
            q, k = (self.graph.op(t.size, self.graph.view(t)) for t in (q, k))
        if is_rotated(self.setting.type_v, value):
            v = self.graph.op(v.size, v)
        return q, k, v

    def _scored(self, layer: LayerGeometry, q: PlacedTensor, width: int) -> PlacedTensor:
        """Values by scores, which flash attention does not keep."""
        graph, mask = self.graph, self.masks[layer.window]
        seen = graph.view(graph.view(q))
        if self.setting.flash:
            halves = self._halves(layer)
            return graph.view(self._op(width, seen, *halves, mask))
        heads = self._size("attention.head_count")
        scores = self._op(heads * cache.cells(layer, self.setting), seen)
        found = self._op(width, graph.inplace(scores, mask))
        return self._op(width, graph.view(found))

    def _halves(self, layer: LayerGeometry) -> list[PlacedTensor]:
        """Keys and values of 32 bits in 16, which flash attention takes."""
        rows = cache.cells(layer, self.setting) * self.setting.streams
        kinds = ((self.setting.type_k, layer.keys), (self.setting.type_v, layer.values))
        return [self.graph.op(2 * rows * n) for kind, n in kinds if kind is GGMLType.F32]

    def _latent(self, layer: LayerGeometry, x: PlacedTensor) -> PlacedTensor:
        """Latent attention, keys and values never unfolded."""
        graph, heads = self.graph, self._size("attention.head_count")
        rank, key = self._size("attention.kv_lora_rank"), self._size("attention.key_length_mla")
        rope = layer.keys - rank
        narrow = self._size("attention.q_lora_rank")
        inner = graph.inplace(self._op(narrow, x)) if narrow else x
        whole = graph.view(self._op(heads * key, inner))
        absorbed = self._op(heads * rank, graph.view(graph.view(whole)))
        turned = self._op(heads * rope, graph.view(whole), self.positions)
        q = self._op(heads * layer.keys, graph.view(absorbed), turned)
        both = self._op(layer.keys, x)
        latent = graph.view(graph.inplace(self._op(rank, graph.view(both))))
        k = self._op(layer.keys, latent, self._op(rope, graph.view(both), self.positions))
        graph.stored(graph.view(k))
        value = self._size("attention.value_length_mla")
        seen, mask = graph.view(graph.view(q)), self.masks[layer.window]
        if self.setting.flash:
            found = graph.view(self._op(heads * rank, seen, mask))
        else:
            cells = cache.cells(layer, self.setting)
            row = self.setting.type_k.row_bytes(rank)
            turned_values = graph.op(cells * self.setting.streams * row)
            scores = graph.inplace(self._op(heads * cells, seen), mask)
            found = self._op(heads * rank, turned_values, scores)
        unfolded = self._op(heads * value, found)
        return self._op(
            self.model.hidden, graph.view(self._op(heads * value, graph.view(unfolded)))
        )

    def _state(self, layer: LayerGeometry, x: PlacedTensor) -> PlacedTensor:
        if layer.kind == "short convolution":
            return self._short(layer, x)
        if self._size("ssm.group_count") and layer.kind == "linear attention":
            return self._delta(layer, x)
        if self.model.arch in SELECTIVE:
            return self._selective(layer, x)
        return self._space(layer, x)

    def _gathered(self, numbers: int) -> PlacedTensor:
        """The states of all sequences, out of the cache."""
        return self.graph.op(numbers * self.setting.sequences * _F32)

    def _short(self, layer: LayerGeometry, x: PlacedTensor) -> PlacedTensor:
        graph, hidden = self.graph, self.model.hidden
        whole = self._op(3 * hidden, x)
        kept = self._taken()
        product = self._op(hidden, graph.view(whole), graph.view(whole))
        joined = self._op(hidden, kept, graph.view(product), beside=layer.rolling)
        graph.stored(graph.view(joined))
        self._early()
        convolved = self._op(hidden, joined)
        return graph.view(self._op(hidden, graph.inplace(convolved, graph.view(whole))))

    def _selective(self, layer: LayerGeometry, x: PlacedTensor) -> PlacedTensor:
        """Mamba, whose steps and projections of the state come of a matrix of their own."""
        graph, inner = self.graph, self._size("ssm.inner_size")
        rank, state = self._size("ssm.time_step_rank"), self._size("ssm.state_size")
        kept = self._taken()
        whole = self._op(2 * inner, x)
        joined = self._op(inner, kept, graph.view(whole), beside=layer.rolling)
        graph.stored(graph.view(joined))
        convolved = graph.inplace(graph.inplace(self._op(inner, joined)))
        scanned_x = graph.view(convolved)
        parts = self._op(rank + 2 * state, convolved)
        numbers = self.setting.n_ubatch * _F32
        steps = self._op(rank, graph.view(parts, rank * numbers))
        steps = graph.inplace(self._op(inner, steps))
        others = [graph.view(parts, state * numbers) for _ in range(2)]
        if self._size("ssm.dt_b_c_rms") or self.model.arch == "jamba":
            others = [graph.inplace(graph.inplace(each)) for each in others]
        states = layer.recurrent * self.setting.sequences
        scanned = self._op(inner, scanned_x, steps, *others, beside=states)
        self._gather_others(layer)
        graph.stored(graph.view(scanned))
        self._early()
        gate = self._op(inner, graph.view(whole))
        skipped = graph.inplace(convolved)
        summed = graph.inplace(skipped, graph.view(scanned))
        return self._op(self.model.hidden, self._op(inner, gate, summed))

    def _gather_others(self, layer: LayerGeometry) -> None:
        """Gather the states of all sequences but the first: those of the batch are scanned where
        they lie, and others would be moved (build_rs)."""
        others = layer.recurrent * (self.setting.sequences - 1)
        self.graph.stored(self.graph.view(self.graph.op(others * _F32)))

    def _space(self, layer: LayerGeometry, x: PlacedTensor) -> PlacedTensor:
        """Mamba 2."""
        graph, inner = self.graph, self._size("ssm.inner_size", layer.rolling)
        taps = max(self._size("ssm.conv_kernel", 4) - 1, 1)
        width, heads = layer.rolling // taps, self._size("ssm.time_step_rank")
        kept = self._taken()
        whole = self._op(inner + width + heads, x)
        joined = self._op(width, kept, graph.view(whole), beside=layer.rolling)
        graph.stored(graph.view(joined))
        convolved = graph.inplace(graph.inplace(self._op(width, joined)))
        x_view, b_view = graph.view(convolved), graph.view(convolved)
        steps = graph.inplace(self._op(heads, graph.view(whole)))
        states = layer.recurrent * self.setting.sequences
        scanned = self._op(inner, x_view, b_view, steps, beside=states)
        self._gather_others(layer)
        graph.stored(graph.view(scanned))
        self._early()
        gate = self._op(inner, graph.view(whole))
        skipped = self._op(inner, x_view)
        summed = graph.inplace(skipped, graph.view(scanned))
        gated = self._op(inner, gate, summed)
        normed = graph.inplace(self._op(inner, graph.view(gated)))
        return self._op(self.model.hidden, graph.view(normed))

    def _delta(self, layer: LayerGeometry, x: PlacedTensor) -> PlacedTensor:
        """The gated delta net, fused as every CPU has it."""
        graph, inner = self.graph, self._size("ssm.inner_size")
        taps = max(self._size("ssm.conv_kernel", 4) - 1, 1)
        width, heads = layer.rolling // taps, self._size("ssm.time_step_rank")
        keys = (width - inner) // 2
        kept = self._taken()
        joined = self._op(width, kept, graph.view(self._op(width, x)), beside=layer.rolling)
        graph.stored(graph.view(joined))
        state = self._gathered(layer.recurrent)
        convolved = graph.inplace(self._op(width, joined))
        q = self._op(keys, graph.view(convolved))
        repeated = self.model.arch == "qwen3next" and inner != keys
        q = self._op(inner, graph.view(q)) if repeated else q
        k = self._op(keys, graph.view(convolved))
        k = self._op(inner, graph.view(k)) if repeated else k
        v = graph.view(convolved)
        factors = self._op(2 * heads, x)
        steps = graph.inplace(self._op(heads, graph.view(factors)))
        rates = graph.inplace(self._op(heads, graph.view(factors)))
        states = layer.recurrent * self.setting.sequences
        found = self._op(inner, q, k, v, steps, rates, state, beside=states)
        graph.stored(graph.view(found))
        self._early()
        normed = graph.inplace(self._op(inner, graph.view(found)))
        gate = self._op(inner, graph.view(self._op(inner, x)))
        return self._op(self.model.hidden, graph.view(graph.inplace(normed, gate)))


def head_sizes(model: Geometry, layer: LayerGeometry) -> tuple[int, int]:
    """Numbers of a key and of a value of one head of a layer."""
    sizes = model.sizes
    key = sizes.get("attention.key_length", 0)
    value = sizes.get("attention.value_length", key)
    if layer.window:
        key = sizes.get("attention.key_length_swa", key)
        value = sizes.get("attention.value_length_swa", value)
    return key, value


def is_rotated(kind: GGMLType, head: int) -> bool:
    """True of a cache whose rows are turned by Hadamard's matrix before they are quantized."""
    return kind.block > 1 and head > 0 and head % 64 == 0
