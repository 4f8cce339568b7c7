"""Write an importance matrix in llama.cpp's GGUF format.

Keys, tensors, shapes and their order are those of llama-imatrix (tools/imatrix/imatrix.cpp,
IMatrixCollector::save_imatrix); the statistics that newer versions add are for people, not for
quantizing, and are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from qpipe.gguf import stream, values
from qpipe.gguf.chunks import Output
from qpipe.gguf.imatrix import COUNTS, SUMS
from qpipe.gguf.types import GGMLType

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Rows:
    origin: str
    data: Floats
    type: GGMLType = GGMLType.F32

    def floats(self, start: int, stop: int) -> Floats:
        return self.data[start:stop]

    def raw(self, start: int, stop: int) -> npt.NDArray[np.uint8]:
        return np.ascontiguousarray(self.data[start:stop], "<f4").view(np.uint8)


def write(
    out: Path,
    entries: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]],
    *,
    datasets: Sequence[str],
    chunks: int,
    chunk_size: int,
) -> None:
    """Write ``out``; the same arguments give the same bytes.

    ``entries`` holds (sums of squares, counts) by tensor name: one count, or one for each matrix of
    a tensor of experts, whose sums come in that order. On any error nothing is left under ``out``.
    """
    metadata = {
        "general.type": values.string("imatrix"),
        "imatrix.datasets": values.strings([name.encode() for name in datasets]),
        "imatrix.chunk_count": values.u32(chunks),
        "imatrix.chunk_size": values.u32(chunk_size),
    }
    stream.write([stream.File(out, metadata, list(_outputs(out, entries)))])


def _outputs(
    out: Path, entries: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]]
) -> Iterator[Output]:
    for name in sorted(entries):
        sums, counts = (np.asarray(part, np.float32).ravel() for part in entries[name])
        assert sums.size % counts.size == 0, (name, sums.size, counts.size)
        for suffix, part in ((SUMS, sums), (COUNTS, counts)):
            rows = part.reshape(counts.size, -1)
            # ggml counts no dimensions of 1 at the end, which is the front here.
            shape = rows.shape if len(rows) > 1 else rows.shape[1:]
            origin = f"{out}: tensor {name + suffix!r}"
            yield Output(name + suffix, shape, GGMLType.F32, _Rows(origin, rows))
