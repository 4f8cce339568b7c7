"""Where ggml puts the tensors of a graph, and how large the buffer gets that holds them.

Source: ggml 0.26.0, src/ggml-alloc.c: ggml_dyn_tallocr_alloc and _free_bytes (the best fitting
hole, else the end), ggml_gallocr_alloc_graph_impl (when a tensor is freed, when it takes its
parent's place). A buffer of the CPU alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from qpipe.memory.setting import padded

_ALIGNMENT = 32  # TENSOR_ALIGNMENT of ggml/src/ggml-cpu, ggml-backend.cpp
_ENDLESS = 1 << 62


class Arena:
    """A buffer that grows; holes are kept by their place. ``peak`` is its size."""

    def __init__(self) -> None:
        self.peak = 0
        self._holes: list[list[int]] = [[0, _ENDLESS]]  # [offset, size], the last one open

    def take(self, size: int) -> int:
        """The offset of a new tensor."""
        size = padded(size, _ALIGNMENT)
        fitting = [hole for hole in self._holes[:-1] if hole[1] >= size]
        # The last of the smallest that fit, as the comparison there has it.
        hole = min(reversed(fitting), key=lambda hole: hole[1], default=self._holes[-1])
        offset = hole[0]
        hole[0] += size
        hole[1] -= size
        if not hole[1]:
            self._holes.remove(hole)
        self.peak = max(self.peak, offset + size)
        return offset

    def give(self, offset: int, size: int) -> None:
        """Free a tensor's place, and join it to the holes beside it."""
        size = padded(size, _ALIGNMENT)
        index = next(i for i, hole in enumerate(self._holes) if hole[0] >= offset + size)
        after = self._holes[index]
        if after[0] == offset + size:
            after[0], after[1] = offset, after[1] + size
        else:
            after = [offset, size]
            self._holes.insert(index, after)
        if index and sum(before := self._holes[index - 1]) == after[0]:
            before[1] += after[1]
            self._holes.remove(after)


@dataclass(eq=False)
class PlacedTensor:
    """A tensor of ``size`` bytes computed from ``sources``; one with a ``root`` is a view of that.
    It takes the place of the first of ``reusable`` that nothing else needs any more."""

    size: int
    sources: Sequence[PlacedTensor] = ()
    reusable: Sequence[PlacedTensor] = ()
    root: PlacedTensor | None = None
    children: int = 0
    views: int = 0
    offset: int | None = field(default=None)


class TensorGraph:
    """Tensors in the order in which they are computed."""

    def __init__(self) -> None:
        self.inputs: list[PlacedTensor] = []
        self.nodes: list[PlacedTensor] = []

    def input(self, size: int) -> PlacedTensor:
        """A tensor that is there before anything is computed."""
        self.inputs.append(PlacedTensor(size))
        return self.inputs[-1]

    def op(self, size: int, *sources: PlacedTensor) -> PlacedTensor:
        """A tensor computed from others."""
        return self._added(PlacedTensor(size, sources))

    def inplace(self, source: PlacedTensor, *others: PlacedTensor) -> PlacedTensor:
        """A tensor as large as ``source``, in whose place, or another's as large, it can be."""
        sources = (source, *others)
        alike = tuple(other for other in sources if other.size == source.size)
        return self._added(PlacedTensor(source.size, sources, alike))

    def view(self, source: PlacedTensor, size: int | None = None) -> PlacedTensor:
        """The same numbers in another shape, or so many bytes of them."""
        size = source.size if size is None else size
        return self._added(PlacedTensor(size, (source,), root=source.root or source))

    def stored(self, *sources: PlacedTensor) -> PlacedTensor:
        """A write into a cache, which is a buffer of its own."""
        return self._added(PlacedTensor(0, sources))

    def _added(self, tensor: PlacedTensor) -> PlacedTensor:
        self.nodes.append(tensor)
        return tensor

    def peak(self) -> int:
        """Bytes of the buffer that all of it fits into."""
        arena = Arena()
        for tensor in self.nodes:
            if tensor.root is not None:
                tensor.root.views += 1
            for source in tensor.sources:
                source.children += 1
        for tensor in self.inputs:
            tensor.offset = arena.take(tensor.size)
        for tensor in self.nodes:
            self._place(arena, tensor)
            for source in tensor.sources:
                self._used(arena, source)
        return arena.peak

    def _place(self, arena: Arena, tensor: PlacedTensor) -> None:
        if tensor.root is not None or not tensor.size:
            return
        for parent in tensor.reusable:
            # A view is never its graph's own (ggml_gallocr_is_own).
            if parent.offset is not None and parent.children == 1 and not parent.views:
                tensor.offset, parent.offset = parent.offset, None
                return
        tensor.offset = arena.take(tensor.size)

    def _used(self, arena: Arena, source: PlacedTensor) -> None:
        source.children -= 1
        if source.children or source.views:
            return
        held = source
        if source.root is not None:
            held = source.root
            held.views -= 1
            if held.views or held.children:
                return
        if held.offset is not None:
            arena.give(held.offset, held.size)
            held.offset = None
