"""The graphs of RWKV 6 and 7: time mixing with a matrix of states for each head, channel mixing,
and the last token of both kept for the next.

Source: llama.cpp 0.6.0-dev, src/models/rwkv6.cpp, rwkv6-base.cpp, rwkv7.cpp and rwkv7-base.cpp.
"""

from __future__ import annotations

from qpipe.memory.arena import PlacedTensor
from qpipe.memory.geometry import LayerGeometry
from qpipe.memory.graph import LayerGraphs

ARCHS = ("rwkv6", "rwkv7")
Gathered = tuple[PlacedTensor, PlacedTensor]


class ReceptanceGraphs(LayerGraphs):
    """Builds such a graph, tensors in the order in which ggml visits them."""

    _first: PlacedTensor | None = None
    """The first layer's values, which RWKV 7 adds to all others'."""

    def bytes(self) -> int:
        """Bytes of the buffer."""
        graph, layers = self.graph, self.model.layers
        _, rows, x = self._inputs()
        x = self._centred(x)
        gathered = self._gathered(layers[0])
        for index, layer in enumerate(layers):
            shift, states = gathered
            normed = self._centred(graph.view(x))
            before = self._op(self.hidden, graph.view(shift), graph.view(normed))
            mix = self._mixed_7 if self.model.arch == "rwkv7" else self._mixed_6
            mixed = mix(layer, normed, before, states)
            summed = self._op(self.hidden, graph.view(mixed), graph.view(x))
            inner = self._centred(summed)
            ends = 2 * self.hidden * self.setting.sequences * 4
            graph.stored(graph.op(ends, graph.view(normed), graph.view(inner)))
            last = index + 1 == len(layers)
            gathered = gathered if last else self._gathered(layers[index + 1])
            x = self._channels(summed, inner, shift, rows if last else None)
        self.tokens = self.setting.n_outputs
        self._op(self.model.vocabulary, self._centred(x))
        return graph.peak()

    def _gathered(self, layer: LayerGeometry) -> Gathered:
        """The last tokens and the states of all sequences, out of the cache."""
        numbers = (layer.rolling, layer.recurrent)
        shift, states = (self.graph.op(n * self.setting.sequences * 4) for n in numbers)
        return shift, states

    def _centred(self, x: PlacedTensor) -> PlacedTensor:
        """Layer norm, which takes a place of its own."""
        return self.graph.inplace(self.graph.inplace(self._op(self.hidden, x)))

    def _narrow(self, x: PlacedTensor, rank: str, *, bent: bool = False) -> PlacedTensor:
        """Through a matrix of low rank and back."""
        low = self._op(self.model.sizes.get(rank, 0), x)
        return self._op(self.hidden, self.graph.inplace(low) if bent else low)

    def _mixed_7(
        self, layer: LayerGeometry, x: PlacedTensor, before: PlacedTensor, states: PlacedTensor
    ) -> PlacedTensor:
        graph, hidden, one = self.graph, self.hidden, self._numbers(self.hidden)
        gated = "attention.gate_lora_rank" in self.model.sizes
        ways = 6 if gated else 5
        shifted = graph.inplace(graph.inplace(before, x))
        spread = self._op(ways * hidden, shifted)
        spread = graph.inplace(graph.inplace(spread), x)
        r = self._op(hidden, graph.view(spread, one))
        seen_r = graph.view(r)
        w = self._narrow(graph.view(spread, one), "attention.decay_lora_rank", bent=True)
        for _ in range(4):  # add, sigmoid, scale, exp
            w = graph.inplace(w)
        seen_w = graph.view(w)
        k = self._op(hidden, graph.view(spread, one))
        a = self._narrow(graph.view(spread, one), "attention.iclr_lora_rank")
        a = graph.inplace(graph.inplace(a))
        ka = self._op(hidden, k)
        product = graph.inplace(graph.inplace(a, ka), ka)
        mixed_k = graph.inplace(product, k)
        seen_k = graph.view(mixed_k)
        seen_v = graph.view(self._values(graph.view(spread, one), one, spread))
        turned = graph.inplace(k)
        turned = self._op(hidden, graph.view(turned))
        seen_a = graph.view(a)
        minus = graph.inplace(turned)
        scaled = graph.inplace(turned, seen_a)
        inputs = (seen_r, seen_w, seen_k, seen_v, minus, scaled, states)
        found = self._scanned(layer, *inputs)
        normed = self._op(hidden, graph.view(found, one))
        normed = graph.inplace(graph.inplace(normed))
        bonus = self._op(hidden, seen_k, seen_r)
        bonus = self._op(self._heads(layer), graph.inplace(bonus))
        normed = graph.inplace(normed, graph.view(self._op(hidden, seen_v, bonus)))
        if gated:
            gate = self._narrow(graph.view(spread, one), "attention.gate_lora_rank", bent=True)
            normed = graph.inplace(normed, gate)
        return self._op(hidden, normed)

    def _values(self, x: PlacedTensor, one: int, spread: PlacedTensor) -> PlacedTensor:
        graph, v = self.graph, self._op(self.hidden, x)
        if self._first is None:
            self._first = v
            return v
        difference = self._op(self.hidden, self._first, v)
        share = self._narrow(graph.view(spread, one), "attention.value_residual_mix_lora_rank")
        share = graph.inplace(graph.inplace(share))
        return graph.inplace(v, graph.inplace(difference, share))

    def _scanned(self, layer: LayerGeometry, *sources: PlacedTensor) -> PlacedTensor:
        states = layer.recurrent * self.setting.sequences
        found = self.graph.op((self.setting.n_ubatch * self.hidden + states) * 4, *sources)
        self.graph.stored(self.graph.view(found))
        return found

    def _heads(self, layer: LayerGeometry) -> int:
        return self.hidden * self.hidden // max(layer.recurrent, 1)

    def _mixed_6(
        self, layer: LayerGeometry, x: PlacedTensor, before: PlacedTensor, states: PlacedTensor
    ) -> PlacedTensor:
        graph, hidden, one = self.graph, self.hidden, self._numbers(self.hidden)
        shifted = graph.inplace(before, x)
        seen, own = graph.view(shifted), graph.view(x)
        spread = graph.inplace(self._op(hidden, seen), own)
        low = graph.inplace(self._op(5 * self.model.sizes["time_mix_extra_dim"], spread))
        low = self._op(5 * self.model.sizes["time_mix_extra_dim"], graph.view(graph.view(low)))
        spread = self._op(5 * hidden, low)
        spread = graph.inplace(graph.inplace(graph.inplace(spread), graph.view(seen)))
        spread = graph.inplace(spread, graph.view(own))
        k = graph.view(self._op(hidden, graph.view(spread, one)))
        v = graph.view(self._op(hidden, graph.view(spread, one)))
        r = graph.view(self._op(hidden, graph.view(spread, one)))
        w = self._narrow(graph.view(spread, one), "time_decay_extra_dim", bent=True)
        for _ in range(4):  # add, exp, neg, exp
            w = graph.inplace(w)
        found = self._scanned(layer, k, v, r, graph.view(w), states)
        normed = self._op(hidden, graph.view(found, one))
        normed = graph.inplace(graph.inplace(graph.view(normed)))
        gate = graph.inplace(self._op(hidden, graph.view(spread, one)))
        return self._op(hidden, graph.inplace(normed, gate))

    def _channels(
        self,
        summed: PlacedTensor,
        inner: PlacedTensor,
        shift: PlacedTensor,
        rows: PlacedTensor | None,
    ) -> PlacedTensor:
        graph, hidden = self.graph, self.hidden
        before = self._op(hidden, graph.view(shift), graph.view(inner))
        seen, own, residual = graph.view(before), graph.view(inner), graph.view(summed)
        if rows is not None:
            self.tokens = self.setting.n_outputs
            seen, own = self._op(hidden, seen, rows), self._op(hidden, own, rows)
        change = graph.inplace(seen, own)
        keys = graph.inplace(self._op(hidden, change), own)
        ways = [keys]
        if self.model.arch == "rwkv6":
            ways = [graph.inplace(self._op(hidden, change), own), keys]
            ways[0] = graph.inplace(self._op(hidden, ways[0]))
        wide = self._op(self.model.sizes["feed_forward_length"], keys)
        out = self._op(hidden, graph.inplace(graph.inplace(wide)))
        if self.model.arch == "rwkv6":
            out = graph.inplace(ways[0], out)
        if rows is not None:
            residual = self._op(hidden, residual, rows)
        return graph.inplace(out, residual)
