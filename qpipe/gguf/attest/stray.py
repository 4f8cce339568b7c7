"""Bytes of a GGUF file that are of no tensor: nothing reads them, and no tensor's bytes tell of
them."""

from __future__ import annotations

from pathlib import Path

from qpipe.errors import CheckpointError
from qpipe.gguf import reader
from qpipe.support.files import open_file


def stray_bytes(path: Path) -> int | None:
    """The number of bytes behind the last tensor and between two that are no padding (zeros up to
    the next multiple of the alignment).

    None where a tensor is of an unknown type, whose end nobody knows. Raises CheckpointError.
    """
    file = reader.read(path, any_type=True)
    if file.unread:
        return None
    if not file.tensors:  # a first part, of metadata alone
        return 0
    tensors = sorted(file.tensors.values(), key=lambda tensor: tensor.offset)
    ends = [tensor.offset + tensor.nbytes for tensor in tensors]
    size = path.stat().st_size
    padded = -(-ends[-1] // file.alignment) * file.alignment
    last = min(size, padded)
    gaps = zip(ends, [*(tensor.offset for tensor in tensors[1:]), last], strict=True)
    with open_file(path, CheckpointError) as opened:
        between = 0
        for start, stop in gaps:
            opened.seek(start)
            between += (stop - start) * any(opened.read(stop - start))
    return between + size - last
