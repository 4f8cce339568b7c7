"""`qpipe engines`: all stages, whether each works here, and engines' own environments."""

from __future__ import annotations

import argparse
import sys

from qpipe.commands.output import print_json
from qpipe.commands.parser import add_json
from qpipe.errors import UsageError


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    """Add ``[install|remove|lock NAME…]``, ``--python`` and ``--json``."""
    parser.add_argument(
        "do",
        nargs="?",
        metavar="install|remove|lock",
        help="install: make the environments of these engines; remove: take them away, older ones "
        "too; lock: choose their versions anew (for developers; needs uv)",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="engines with one of their own")
    python = "the interpreter to make environments with (default: qpipe's own)"
    parser.add_argument("--python", metavar="PATH", help=python)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """List stages and environments, or change environments; what is missing here is no failure.

    Raises EngineMissingError for an environment that cannot be made, UsageError for one in use that
    is to be removed.
    """
    from qpipe.commands.engines_text import changed_lines, document, listing
    from qpipe.session import engines

    if args.do is None:
        inventory = engines.inventory()
        if args.json:
            print_json("engines/1", document(inventory))
        else:
            print(listing(inventory))
        return 0
    if args.do not in ("install", "remove", "lock"):
        it_is = "it is install, remove or lock, or nothing for the list"
        raise UsageError(f"qpipe engines {args.do}: {it_is}")
    if not args.names:
        names = ", ".join(sorted(engines.environments()))
        raise UsageError(f"qpipe engines {args.do} NAME: {names}")
    records = engines.change(args.do, args.names, python=args.python, say=_say)
    if args.json:
        print_json("environments/1", {"environments": records})
    else:
        for line in changed_lines(records):
            print(line)
    return 0


def _say(words: str) -> None:
    print(words, file=sys.stderr)
