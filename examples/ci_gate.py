"""Let a quantized model through only if it surely loses less than it may: BOUND TYPE.

Exit codes are those of `qpipe check`: 0 accept, 5 regression, 6 inconclusive or anomalous.
"""

from __future__ import annotations

import sys

import qpipe


def main(bound: str = "2%", level: str = "Q4_K_M") -> int:
    session = qpipe.load(
        "local",
        "model.source=builtin:tinystories-d256",
        f"quantize.type={level}",
        "evaluate.n_ctx=256",
        "evaluate.chunks=40",
    )
    for error in session.plan().errors:  # known before anything runs
        print(f"would fail: {error}", file=sys.stderr)
        return error.exit_code
    gate = qpipe.check(session.run(), max_ppl=bound)
    for row in gate.rows:
        for check in row.checks:
            loss = check.evidence.estimate
            print(
                f"{row.name}: {check.evidence.name} rises by {loss.value:.2%}, surely by "
                f"{loss.low:.2%} to {loss.high:.2%}: {check.verdict} ({check.why})"
            )
    return gate.exit_code


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except qpipe.QpipeError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
