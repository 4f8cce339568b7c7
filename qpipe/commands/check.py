"""`qpipe check RUN|REPORT`: whether what models lost is within bounds, if the data tell."""

from __future__ import annotations

import argparse

from qpipe.commands.output import print_json, width
from qpipe.commands.parser import add_json, add_runs


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    """Add ``RUN``, bounds, ``--equivalent``, ``--only``, ``--score``, ``--json``, ``--runs``."""
    parser.add_argument(
        "run",
        metavar="RUN",
        help="a name under runs/, a run's folder, latest, or a report in JSON",
    )
    parser.add_argument("--max-drop", metavar="PP", help="of accuracy in tasks: 1pp")
    parser.add_argument("--max-kld", metavar="NATS", help="KL divergence a token: 0.02")
    parser.add_argument("--max-ppl", metavar="PERCENT", help="rise of perplexity: 1%%")
    parser.add_argument(
        "--equivalent", action="store_true", help="no better by more than the bound either"
    )
    parser.add_argument(
        "--only", metavar="NAME", action="append", default=[], help="this row; may be repeated"
    )
    parser.add_argument(
        "--score", metavar="NAME", help="of tasks (default: acc, acc_norm or exact_match)"
    )
    add_json(parser)
    add_runs(parser)


def run(args: argparse.Namespace) -> int:
    """Print the verdicts; return 0 (accept), 5 (regression) or 6 (inconclusive, anomalous).

    Raises UsageError for a bound that means nothing, or on what was not measured.
    """
    from qpipe.commands.check_text import described
    from qpipe.gate.record import record
    from qpipe.session.check import check

    gate = check(
        args.run,
        max_drop=args.max_drop,
        max_kld=args.max_kld,
        max_ppl=args.max_ppl,
        equivalent=args.equivalent,
        only=args.only,
        score=args.score,
        runs=args.runs,
    )
    if args.json:
        print_json("check/1", record(gate))
    else:
        print(described(gate, width=width()))
    return gate.exit_code
