"""`python -m bench --peers ENV [--rounds N] [NAME…]`: run the benchmarks, print what they show."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bench.measure import Bench, Row
from qpipe.machine.identity import describe

NAMES = (
    *("mix", "mix_costs", "mix_menu"),
    *("startup", "cached", "composing", "scaling", "local_source", "hub"),
    *("quantizing", "converter", "experts", "fp8", "realsize", "attest"),
    *("evaluating", "engines", "whole", "tasks", "repro", "reference", "estimate"),
    "guided_sweep",
)
_RESULTS = Path(__file__).with_name("results")
_MARKS = {True: "yes", False: "NO", None: ""}


def main() -> int:
    """Run what was asked for; 1 if a limit was not kept."""
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--peers", type=Path, required=True, help="the peers' environment")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    found: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="qpipe-bench-") as folder:
        peers = args.peers.absolute()
        bench = Bench(Path(sys.executable), peers, Path(folder), rounds=args.rounds)
        for name in args.names or NAMES:
            print(f"measuring {name} …", file=sys.stderr)
            rows = importlib.import_module(f"bench.{name}").rows(bench)
            print("\n".join(map(_line, rows)), file=sys.stderr)
            found += rows
    text = table(found)
    print(text)
    _write(found, text)
    return 1 if any(row.ok is False for row in found) else 0


def table(found: Sequence[Row]) -> str:
    """The rows as a Markdown table, with the machine and the date below."""
    here = describe()
    python = ".".join(map(str, sys.version_info[:3]))
    return "\n".join(
        [
            "| what | qpipe | beside | it takes | ratio | limit | kept |",
            "|---|--:|---|--:|--:|--:|---|",
            *map(_line, found),
            "",
            f"{time.strftime('%Y-%m-%d')}, {here['processor']}, {here['cores']} cores, "
            f"{here['system']}, Python {python}. Medians of interleaved rounds.",
        ]
    )


def _line(row: Row) -> str:
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
    theirs = "" if row.theirs is None else _value(row.theirs, row.unit)
    cells = [
        row.what,
        _value(row.ours, row.unit),
        row.peer or "",
        theirs,
        ratio,
        _limit(row),
        _MARKS[row.ok],
    ]
    return f"| {' | '.join(cells)} |"


def _value(value: float, unit: str) -> str:
    return f"{value:.3g} {unit}" if value < 1000 else f"{value:,.0f} {unit}"


def _limit(row: Row) -> str:
    if row.limit is None:
        return ""
    return f"{row.limit:g} ×" if row.peer else f"{row.limit:g} {row.unit}"


def _write(found: Sequence[Row], text: str) -> None:
    _RESULTS.mkdir(exist_ok=True)
    stem = time.strftime("%Y-%m-%d_%H-%M-%S")
    records = [{**asdict(row), "ratio": row.ratio, "ok": row.ok} for row in found]
    document = {"machine": describe(), "load": os.getloadavg()[0], "rows": records}
    (_RESULTS / f"{stem}.json").write_text(json.dumps(document, indent=1) + "\n")
    (_RESULTS / f"{stem}.md").write_text(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
