"""`qpipe gc`: take artifacts away by worth and age, and say what making them again would cost."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from qpipe.commands.output import print_json, say, width
from qpipe.commands.parser import add_json, add_runs, add_store, places
from qpipe.errors import UsageError
from qpipe.support.files import is_folder
from qpipe.support.quantities import parse_age, parse_size


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    """Add the limits, what they hold for, ``--dry-run``, ``--json``, ``--store``, ``--runs``."""
    parser.add_argument("--max-size", metavar="SIZE", help="keep this much, what is worth most")
    parser.add_argument("--max-age", metavar="AGE", help="take what was unused for, e.g. 30d")
    parser.add_argument("--model", metavar="NAME", help="only what was made from this model")
    parser.add_argument("--stage", help="only artifacts of this stage (quantize, evaluate, …)")
    parser.add_argument("--run", metavar="RUN", help="only what this run made or used, or latest")
    parser.add_argument("--dry-run", action="store_true", help="only say what would go")
    add_json(parser)
    add_store(parser)
    add_runs(parser)


def run(args: argparse.Namespace) -> int:
    """Remove artifacts by size and age. Raises UsageError without a limit."""
    if args.max_size is None and args.max_age is None:
        raise UsageError(
            "gc needs a limit: --max-size 50GB, --max-age 30d, or both; --dry-run shows what "
            "would go (--max-size 0 takes everything that no run uses and none is pinned by)"
        )
    size = None if args.max_size is None else parse_size(args.max_size, option="--max-size")
    age = None if args.max_age is None else parse_age(args.max_age, option="--max-age")
    from qpipe.commands.gc_text import document, lines, still_above
    from qpipe.core.store import ArtifactStore
    from qpipe.session.collecting import collected
    from qpipe.session.selection import Selection

    store, only = ArtifactStore(Path(args.store)), Selection(args.model, args.stage, args.run)
    if not is_folder(store.paths.root):
        say(f"there is no store {args.store} yet", file=sys.stderr)
    runs, dry_run = Path(args.runs), args.dry_run
    done = collected(store, runs, max_size=size, max_age=age, only=only, dry_run=dry_run)
    if args.json:
        print_json("gc/1", document(done, store=store.paths.root, dry_run=dry_run))
        return 0
    for line in lines(done, places(args), dry_run=dry_run, width=width()):
        say(line)
    if size is not None and (words := still_above(done.collection, size)):
        print(words, file=sys.stderr)
    return 0
