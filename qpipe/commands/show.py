"""`qpipe show KEY`: everything that an artifact's manifest says."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from qpipe.commands.output import print_json
from qpipe.commands.parser import add_json, add_runs, add_store


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    """Add ``KEY``, ``--json``, ``--store`` and ``--runs``."""
    parser.add_argument(
        "key", metavar="KEY", help="the first digits of a key, or an artifact's path"
    )
    add_json(parser)
    add_store(parser)
    add_runs(parser)


def run(args: argparse.Namespace) -> int:
    """Show one artifact. Raises StoreError for none, several, or a damaged manifest."""
    from qpipe.commands.show_text import described
    from qpipe.session.places import places_of
    from qpipe.session.store import Store

    artifact = Store(args.store).get(Path(args.key).name)
    places = places_of(artifact, Path(args.runs))
    if args.json:
        document = json.loads(artifact.manifest.dump())
        used = artifact.path.stat().st_mtime
        print_json("show/1", {**document, **places.record(), "last_used": used})
    else:
        print(described(artifact.manifest, places))
    return 0
