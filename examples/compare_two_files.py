"""Compare two GGUF files on the same tokens: A.gguf B.gguf. Without arguments, two are made."""

from __future__ import annotations

import math
import sys

import qpipe

TEXT = "builtin:texts/tinystories_lower_heldout.txt"


def main(first: str = "", second: str = "") -> None:
    if not second:
        first = str(qpipe.quantize("builtin:tinystories-d256", "first.gguf", "Q8_0"))
        second = str(qpipe.quantize("builtin:tinystories-d256", "second.gguf", "Q2_K"))
    measured = {file: qpipe.perplexity(file, TEXT, n_ctx=256, chunks=8) for file in (first, second)}
    for file, result in measured.items():
        size = qpipe.inspect(file)["file_bytes"]
        ppl = result.scores[0]
        print(f"{file}: {size:,} bytes, ppl {ppl.value:.3f} ± {ppl.stderr:.3f}")

    a, b = measured.values()
    if (a.protocol, a.on.tokens_sha256) != (b.protocol, b.on.tokens_sha256):
        sys.exit("their tokenizers differ: perplexities a token do not compare")
    ratio = b.scores[0].value / a.scores[0].value
    print(f"the second has {100 * (ratio - 1):+.2f} % perplexity, {a.protocol}")
    print(f"that is {math.log(ratio):+.4f} nats a token")


if __name__ == "__main__":
    main(*sys.argv[1:])
