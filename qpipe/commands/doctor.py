"""`qpipe doctor`: what works on this machine, and what would make the rest work."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from qpipe.commands.output import print_json
from qpipe.commands.parser import add_json, add_store
from qpipe.errors import EngineMissingError
from qpipe.report import text

if TYPE_CHECKING:
    from qpipe.commands.checks.check import Check

_MARKS = {"ok": "ok", "absent": "-", "broken": "BROKEN"}


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    """Add ``--network``, ``--calibrate``, ``--json`` and ``--store``."""
    parser.add_argument("--network", action="store_true", help="also ask whether the hub answers")
    parser.add_argument(
        "--calibrate",
        action="store_true",
        help="measure for `qpipe estimate` how fast this machine reads and multiplies",
    )
    add_json(parser)
    add_store(parser)


def run(args: argparse.Namespace) -> int:
    """Print the checks; return EngineMissingError's exit code if anything in the base is broken."""
    from qpipe.commands.checks import calibrated, machine, packages, tools

    checks = [
        *machine.checks(Path(args.store)),
        *calibrated.checks(measure=args.calibrate),
        *packages.checks(),
        *tools.checks(network=args.network),
    ]
    broken = [check for check in checks if check.state == "broken"]
    if args.json:
        print_json("doctor/1", {"works": not broken, "checks": [asdict(check) for check in checks]})
    else:
        print(_lines(checks))
        names = ", ".join(check.name for check in broken)
        print(f"\nbroken: {names}" if broken else "\nthe base works")
    return EngineMissingError.exit_code if broken else 0


def _lines(checks: Sequence[Check]) -> str:
    rows = []
    for check in checks:
        rows.append([_MARKS[check.state], check.name, check.found.replace("\n", " ")])
        if check.fix:
            rows.append(["", "", f"→ {check.fix}"])
    return text.table(("", "", ""), rows).lstrip("\n")
