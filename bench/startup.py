"""How long `qpipe --help` and `qpipe ls` take beside a bare interpreter with argparse and json."""

from __future__ import annotations

import json

from bench import sweep
from bench.measure import Bench, Row, call, interleaved

_BARE = "python -c 'import argparse, json'"


def rows(bench: Bench) -> list[Row]:
    """Two rows, in milliseconds."""
    store = sweep.finished(bench)
    folder = bench.sub("startup")
    listed = json.loads(call([bench.qpipe, "ls", "--json", "--store", store], cwd=folder))
    listing = f"qpipe ls, {len(listed['artifacts'])} artifacts"
    taken = interleaved(
        {
            _BARE: lambda: call([bench.python, "-c", "import argparse, json"], cwd=folder),
            "qpipe --help": lambda: call([bench.qpipe, "--help"], cwd=folder),
            listing: lambda: call([bench.qpipe, "ls", "--store", store], cwd=folder),
        },
        rounds=bench.rounds * 5,
    )
    return [
        Row(name, taken[name] * 1000, "ms", _BARE, taken[_BARE] * 1000, limit=2.5)
        for name in ("qpipe --help", listing)
    ]
