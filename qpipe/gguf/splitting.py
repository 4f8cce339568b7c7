"""Write a GGUF model in parts, as llama-gguf-split does (tools/gguf-split/gguf-split.cpp).

The first has the metadata, each says its number and how many there are, and no tensor is cut.
llama-gguf-split counts tensors alone; here a part is no larger than asked for, its header included.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from qpipe import errors
from qpipe.gguf import quantize, split, stream, values
from qpipe.gguf.chunks import OutputTensor
from qpipe.support import hashing
from qpipe.support.hashing import ReadCounter, Sealed

_MOST_PARTS = (1 << 16) - 1  # split.count has two bytes
_CHUNK = 1 << 20  # bytes of a tensor at a time
_ALIGNMENT = "general.alignment"


class Parts:
    """A model that is to be written in parts of at most ``most`` bytes: ``tensors`` of each.

    A tensor that alone is larger has a part of its own.
    """

    def __init__(self, source: Path, most: int) -> None:
        """Read the header. Raises `CheckpointError` for a damaged file."""
        plan = quantize.read(source)
        self._source, self._most = source, most
        self._metadata = {key: v for key, v in plan.metadata.items() if key != _ALIGNMENT}
        self._count = len(plan.outputs)
        self.tensors: list[list[OutputTensor]] = []
        self._divide(plan.outputs)

    @property
    def larger(self) -> list[int]:
        """The numbers (from 1) of parts that are larger than asked for: with a large tensor, or
        the metadata."""
        return [
            number
            for number, part in enumerate(self.tensors, 1)
            if stream.size(self._own(number - 1), part) > self._most
        ]

    def write(
        self,
        path: Callable[[int, int], Path],
        *,
        sealed: Callable[[Path, Sealed], None],
        progress: Callable[[int, int], None],
    ) -> list[Path]:
        """Write each part to the ``path`` of its number (from 1) and their count, whose digest
        ``sealed`` is told; return the paths.

        Raises `CheckpointError` for a weight that is no finite number, `OutOfSpaceError`.
        """
        count = len(self.tensors)
        if count > _MOST_PARTS:
            raise errors.UsageError(
                f"{self._source.name}: {count} parts of {self._most} bytes are more than a name "
                "has room for; give a larger size"
            )
        total = sum(output.nbytes for part in self.tensors for output in part)
        paths, before = [path(number, count) for number in range(1, count + 1)], 0
        for number, (target, part) in enumerate(zip(paths, self.tensors, strict=True)):
            file = stream.OutputFile(
                target,
                self._own(number),
                part,
                progress=partial(_report, progress, before, total),
                hashed=partial(sealed, target),
            )
            stream.write([file])
            before += sum(output.nbytes for output in part)
        return paths

    def _own(self, number: int) -> dict[str, bytes]:
        """The metadata of a part; in the order of llama-gguf-split, which sets the count last."""
        count = min(len(self.tensors), _MOST_PARTS)
        return {
            **(self._metadata if number == 0 else {}),
            split.NUMBER: values.encode(number, values.ValueType.UINT16),
            split.TENSORS: values.encode(self._count, values.ValueType.INT32),
            split.COUNT: values.encode(count, values.ValueType.UINT16),
        }

    def _divide(self, outputs: Sequence[OutputTensor]) -> None:
        size = 0
        for output in outputs:
            added = _entry(output) + stream.padded(output.nbytes)
            if not self.tensors or (self.tensors[-1] and size + added > self._most):
                size = self._empty(len(self.tensors))
                self.tensors.append([])
            self.tensors[-1].append(output)
            size += added

    def _empty(self, number: int) -> int:
        """Bytes of a part without tensors, at most."""
        return len(stream.header(self._own(number), ())) + stream.padded(1)


def _entry(output: OutputTensor) -> int:
    """Bytes of a tensor's entry in the header."""
    return len(values.pack_string(output.name.encode())) + struct.calcsize(
        f"<I{len(output.shape)}QIQ"
    )


def _report(
    progress: Callable[[int, int], None], before: int, total: int, done: int, of: int
) -> None:
    progress(before + done, total)


def joined_sha256(
    first: Path, progress: Callable[[int, int], None] = lambda done, total: None
) -> str:
    """SHA-256 (hex) of the one file that the parts of a model are together, without writing it;
    ``progress`` takes (bytes read, bytes in all).

    Raises `CheckpointError` for parts that are damaged or not all there.
    """
    plan = quantize.read(first)
    digest = hashing.begin(str(first))
    digest.update(stream.header(plan.metadata, plan.outputs))
    counter = ReadCounter(sum(output.nbytes for output in plan.outputs), progress)
    for output in plan.outputs:
        rows = math.prod(output.shape[:-1])
        step = max(1, _CHUNK * rows // output.nbytes)
        for start in range(0, rows, step):
            data = output.rows.raw(start, min(rows, start + step)).tobytes()
            digest.update(data)
            counter.update(data)
        digest.update(bytes(stream.padded(output.nbytes) - output.nbytes))
    return digest.hexdigest()
