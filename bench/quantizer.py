"""The quantizer's own time, without a command around it.

`python -m bench.quantizer CHECKPOINT OUT TYPE THREADS` writes a file as a stage does, hashed while
it is written, and prints its CPU and wall seconds; kernels are loaded before the clock starts.
`python -m bench.quantizer hashed CHECKPOINT STORE TYPE` makes it by a whole run in this process,
and prints the bytes that were hashed for each byte of the checkpoint and of the file.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from pathlib import Path

from qpipe.gguf import convert, quantize, stream
from qpipe.support import hashing
from qpipe.support.hashing import Sealed


def taken(checkpoint: Path, out: Path, ftype: str, threads: int) -> tuple[float, float]:
    """CPU and wall seconds from the first read row to the closed file."""
    given = convert.prepare(checkpoint, outtype="F16")
    plan = quantize.prepare(given, ftype)
    small = sorted(plan.outputs, key=lambda output: output.nbytes)
    kinds = {output.type: output for output in reversed(small) if output.name.startswith("blk.")}
    stream.write([stream.OutputFile(out, plan.metadata, [*kinds.values()])])  # loads the kernels
    sealed: list[Sealed] = []
    cpu, started = time.process_time(), time.perf_counter()
    stream.write([plan.file(out, hashed=sealed.append)], threads=threads)
    wall = time.perf_counter() - started
    assert sealed, "it is hashed meanwhile"
    return time.process_time() - cpu, wall


class _Counted:
    """A SHA-256 that counts its bytes."""

    total = 0

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def update(self, data: hashing.Buffer) -> None:
        _Counted.total += len(data)
        self._hash.update(data)

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def hashed(checkpoint: Path, store: Path, ftype: str) -> float:
    """Bytes hashed for each byte of checkpoint and file."""
    import qpipe

    hashing.begin = lambda name: _Counted()  # type: ignore[assignment,return-value]
    words = (f"model.source={checkpoint}", "evaluate=none", "executor=inline")
    (row,) = qpipe.load("local", *words, f"quantize.type={ftype}", store=store).run().rows
    assert row.size_bytes is not None
    weights = sum(path.stat().st_size for path in checkpoint.iterdir())
    return _Counted.total / (weights + row.size_bytes)


if __name__ == "__main__":
    if sys.argv[1] == "hashed":
        print(json.dumps(hashed(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])))
    else:
        given, made, name, threads = sys.argv[1:]
        print(json.dumps(taken(Path(given), Path(made), name, int(threads))))
