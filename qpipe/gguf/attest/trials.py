"""What is known of one tensor of one published file while the source is read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from qpipe.gguf import chunks, quantizers
from qpipe.gguf.attest import ways
from qpipe.gguf.attest.gaps import Gap
from qpipe.gguf.attest.ways import Way
from qpipe.gguf.chunks import OnceRead, OutputTensor
from qpipe.gguf.rows import GGUFRows


@dataclass(eq=False)
class Trial:
    """A tensor of a file, whose rows are ``published``, beside what the source makes of it:
    ``output``, in the file's type and with the importances that are at hand.

    The file is open only while rows of it are read. ``checked`` are the numbers of the chunks that
    were made by a way, ``gaps`` those of them that were not the file's. ``problem`` is why the
    source's weights cannot be used.
    """

    output: OutputTensor
    published: GGUFRows
    checked: dict[Way, set[int]] = field(default_factory=dict)
    gaps: dict[Way, dict[int, Gap]] = field(default_factory=dict)
    problem: str | None = None
    _ways: dict[Way, Way | None] = field(default_factory=dict)

    @cached_property
    def spans(self) -> Sequence[tuple[int, int]]:
        """The first row of each chunk, and that behind its last; none leaves a matrix."""
        return spans(self.output.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor."""
        return self.published.tensor.nbytes

    def way(self, way: Way) -> Way | None:
        """A file's way as far as it makes a difference here; None if it cannot be gone."""
        if way not in self._ways:
            self._ways[way] = self._as_far(way)
        return self._ways[way]

    def _as_far(self, way: Way) -> Way | None:
        own = ways.of_tensor(way, self.output, weighted=self.output.imatrix is not None)
        if own is None or own.scales == "ggml":
            return own
        on = not self.read_once and ways.as_written(own, self.output).on_lattice()
        return own if on else replace(own, scales="ggml")

    @cached_property
    def read_once(self) -> bool:
        """True if the source's rows come but once."""
        return isinstance(self.output.rows, OnceRead)

    @cached_property
    def writable(self) -> bool:
        """True if qpipe writes the tensor's type."""
        return ways.is_copied(self.output) or quantizers.writes(self.output.type)

    def note(self, way: Way, chunk: int, gap: Gap | None) -> None:
        """Note that a chunk was made by a way, and what differed."""
        self.checked.setdefault(way, set()).add(chunk)
        if gap is not None:
            self.gaps.setdefault(way, {})[chunk] = gap

    def fails(self, way: Way | None) -> bool:
        """True if the tensor is surely not made by a way of `way`."""
        return way is None or way in self.gaps

    def left(self, way: Way | None) -> list[int]:
        """The chunks that are still to be made by a way to know all of it."""
        if way is None or self.read_once or self.problem is not None:
            return []
        return sorted(set(range(len(self.spans))) - self.checked.get(way, set()))

    def alive(self, every: Iterable[Way]) -> Iterator[Way]:
        """Yield the ways of the tensor that may still be the file's, each once."""
        for own in dict.fromkeys(map(self.way, every)):
            if own is not None and own not in self.gaps:
                yield own

    def gap(self, way: Way) -> Gap:
        """All that differs by a way."""
        return sum(self.gaps.get(way, {}).values(), Gap())


def spans(shape: Sequence[int]) -> list[tuple[int, int]]:
    """Rows of a tensor, cut as `chunks` cuts them, each part within one matrix."""
    n_rows = math.prod(shape[:-1])
    matrix = shape[-2] if len(shape) > 2 else n_rows
    step = chunks.rows_of_chunk(shape[-1])
    return [
        (start, min(start + step, first + matrix))
        for first in range(0, n_rows, matrix)
        for start in range(first, first + matrix, step)
    ]
