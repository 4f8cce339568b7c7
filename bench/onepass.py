"""Safetensors to quantized GGUF in one process, the one that `bench.quantizing` measures.

`python -m bench.onepass CHECKPOINT OUT=TYPE[=IMATRIX]…` writes all files in one pass and prints the
most memory it had, in bytes.
"""

from __future__ import annotations

import sys
from pathlib import Path

from qpipe.gguf import convert, quantize, stream
from qpipe.machine.usage import peak_rss

THREADS = 2


def main(checkpoint: str, *wanted: str) -> None:
    """Quantize by way of F16, as the usual path does."""
    given = convert.prepare(Path(checkpoint), outtype="F16")
    files = []
    for one in wanted:
        out, ftype, *imatrix = one.split("=")
        weights = Path(imatrix[0]) if imatrix else None
        files.append(quantize.prepare(given, ftype, imatrix=weights).file(Path(out)))
    stream.write(files, threads=THREADS)
    print(peak_rss())


if __name__ == "__main__":
    main(*sys.argv[1:])
