"""`qpipe rm KEY…|RUN…`: remove artifacts and runs' folders, having said what they are."""

from __future__ import annotations

import argparse
from pathlib import Path

from qpipe.commands.output import print_json, say
from qpipe.commands.parser import add_json, add_runs, add_store
from qpipe.errors import UsageError
from qpipe.support.quantities import parse_age


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    """Add ``NAME…``, ``--runs-older-than``, ``--dry-run``, ``--json``, ``--store``, ``--runs``."""
    parser.add_argument(
        "names", metavar="KEY|RUN", nargs="*", help="the first digits of a key, a run, or latest"
    )
    parser.add_argument(
        "--runs-older-than", metavar="AGE", help="folders of runs that ended before, e.g. 30d"
    )
    parser.add_argument(
        "--models", action="store_true", help="of runs only the links to models; records stay"
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would go")
    add_json(parser)
    add_store(parser)
    add_runs(parser)


def run(args: argparse.Namespace) -> int:
    """Remove what is named. Raises UsageError for names that are none, StoreError for what is in
    use or pinned."""
    if bool(args.names) == (args.runs_older_than is not None):
        raise UsageError("rm takes keys and runs, or --runs-older-than 30d; --dry-run only tells")
    from qpipe.commands.gc_text import removal_document, removal_lines
    from qpipe.core.store import ArtifactStore
    from qpipe.session import listing, removal

    store, runs = ArtifactStore(Path(args.store)), Path(args.runs)
    models = listing.models(args.store)
    if args.names:
        chosen = removal.named(args.names, store=store, runs=runs, models=args.models)
    else:
        age = parse_age(args.runs_older_than, option="--runs-older-than")
        chosen = removal.old_runs(age, store=store, runs=runs, models=args.models)
    if not args.json:
        for line in removal_lines(chosen, dry_run=args.dry_run):
            say(line)
    if not args.dry_run:
        removal.remove(chosen, store=store)
    if args.json:
        print_json("rm/1", removal_document(chosen, models, args.dry_run))
    return 0
