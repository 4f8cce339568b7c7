"""Two bits of each of 256 levels: Q2_K and Q3_K."""

from __future__ import annotations

from qpipe.gguf.quantizers._kernels.jit import LANES, Bytes, inner

_SIZE = 16
_SUBS = 16


@inner
def pack_pairs_of_bits(codes: Bytes, block: int, out: Bytes) -> None:
    """Each half of a superblock in 32 bytes, levels that lie 32 apart in one byte."""
    for half in range(2):
        for i in range(32):
            at = i % _SIZE * LANES + block * _SUBS + half * 8 + i // _SIZE
            q1, q2, q3, q4 = codes[at], codes[at + 2], codes[at + 4], codes[at + 6]
            out[half * 32 + i] = (q1 & 3) | ((q2 & 3) << 2) | ((q3 & 3) << 4) | ((q4 & 3) << 6)
