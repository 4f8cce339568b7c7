"""`qpipe gc`: take artifacts away by size and age, and say what making them again would cost."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qpipe.commands.output import print_json, say
from qpipe.commands.parser import add_json, add_store
from qpipe.errors import UsageError
from qpipe.report import numbers, text
from qpipe.support.files import is_folder
from qpipe.support.quantities import parse_age, parse_size

if TYPE_CHECKING:
    from qpipe.core.gc import Candidate, Collection


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    """``--max-size``, ``--max-age``, ``--dry-run``, ``--json``, ``--store``."""
    parser.add_argument(
        "--max-size", metavar="SIZE", help="keep at most this much, e.g. 50GB: the last used"
    )
    parser.add_argument("--max-age", metavar="AGE", help="take what was unused for, e.g. 30d")
    parser.add_argument("--dry-run", action="store_true", help="only say what would go")
    add_json(parser)
    add_store(parser)


def run(args: argparse.Namespace) -> int:
    """Collect. Raises UsageError without a limit."""
    if args.max_size is None and args.max_age is None:
        raise UsageError(
            "gc needs a limit: --max-size 50GB, --max-age 30d, or both; --dry-run shows what "
            "would go (--max-size 0 takes everything that no run uses and none is pinned by)"
        )
    size = None if args.max_size is None else parse_size(args.max_size, option="--max-size")
    age = None if args.max_age is None else parse_age(args.max_age, option="--max-age")
    from qpipe.core.gc import collect
    from qpipe.core.store import Store

    store = Store(Path(args.store))
    if not is_folder(store.paths.root):
        print(f"there is no store {args.store} yet", file=sys.stderr)
    found = collect(store, max_size=size, max_age=age, dry_run=args.dry_run)
    if args.json:
        print_json({"store": str(store.paths.root.absolute()), **_document(found, args.dry_run)})
    else:
        _print(found, dry_run=args.dry_run, max_size=size)
    return 0


def _document(found: Collection, dry_run: bool) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "freed_bytes": found.freed,
        "rebuild_seconds": found.rebuild_seconds,
        "removed": [_record(candidate) for candidate in found.removed],
        "kept": [_record(candidate) for candidate in found.kept],
    }


def _record(candidate: Candidate) -> dict[str, Any]:
    return {
        "key": candidate.key,
        "name": candidate.name,
        "size_bytes": candidate.size,
        "last_used": candidate.last_used,
        "rebuild_seconds": candidate.rebuild_seconds,
        "spared": candidate.spared,
    }


def _print(found: Collection, *, dry_run: bool, max_size: int | None) -> None:
    if found.removed:
        now = time.time()
        rows = [
            [c.key[:12], c.name, numbers.size(c.size), numbers.age(now - c.last_used),
             numbers.duration(c.rebuild_seconds)]
            for c in found.removed
        ]  # fmt: skip
        print(text.table(("KEY", "NAME", "FREES", "UNUSED", "TO REBUILD"), rows, right="llrrr"))
    kept = sum(c.size for c in found.kept)
    print(
        f"{'would remove' if dry_run else 'removed'} {len(found.removed)} artifact(s), "
        f"{numbers.size(found.freed)} ({numbers.duration(found.rebuild_seconds)} to make again); "
        f"{'would keep' if dry_run else 'kept'} {len(found.kept)}, {numbers.size(kept)}"
    )
    reasons = Counter(c.spared for c in found.kept if c.spared)
    for reason, count in sorted(reasons.items()):
        say(f"spared {count}: {reason}")
    if max_size is not None and kept > max_size:
        print(
            f"still above --max-size by {numbers.size(kept - max_size)}: what is left is spared; "
            "`qpipe unpin RUN` lets go of a pinned run",
            file=sys.stderr,
        )
