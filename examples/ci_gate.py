"""End with exit code 1 if a quantized model loses more perplexity than it may: LIMIT TYPE."""

from __future__ import annotations

import sys

import qpipe


def main(limit: str = "0.05", level: str = "Q4_K_M") -> int:
    session = qpipe.load(
        "local",
        "model.source=builtin:tinystories-d256",
        f"quantize.type={level}",
        "evaluate.n_ctx=256",
        "evaluate.chunks=8",
    )
    for error in session.plan().errors:  # known before anything runs
        print(f"would fail: {error}", file=sys.stderr)
        return error.exit_code
    reference, quantized = session.run().rows
    loss = quantized.scores["ppl"].value / reference.scores["ppl"].value - 1
    good = loss <= float(limit)
    print(f"{quantized.name} loses {loss:.2%}, {'within' if good else 'MORE THAN'} {limit}")
    return 0 if good else 1


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except qpipe.QpipeError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
