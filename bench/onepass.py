"""Safetensors to quantized GGUF in one process, the one that `bench.quantizing` measures.

`python -m bench.onepass CHECKPOINT OUT TYPE [IMATRIX]` prints the most memory it had, in bytes.
"""

from __future__ import annotations

import sys
from pathlib import Path

from qpipe.core.machine import peak_rss
from qpipe.gguf import convert, quantize

THREADS = 2


def main(checkpoint: str, out: str, ftype: str, imatrix: str | None = None) -> None:
    """Quantize by way of F16, as the usual path does."""
    quantize.quantize(
        convert.prepare(Path(checkpoint), outtype="F16"),
        Path(out),
        ftype=ftype,
        imatrix=None if imatrix is None else Path(imatrix),
        threads=THREADS,
    )
    print(peak_rss())


if __name__ == "__main__":
    main(*sys.argv[1:])
