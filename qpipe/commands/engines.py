"""`qpipe engines`: all stages, whether each works here, and engines' own environments."""

from __future__ import annotations

import argparse
import sys

from qpipe.commands.output import print_json
from qpipe.commands.parser import add_json


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    """Add what is to be done, the names, what each verb may be told, ``--digest``, ``--json``."""
    do = (
        "install: make the environments of these engines; fetch: gather what they are made of, for "
        "a machine without a network; remove: take them away, older ones too; lock: choose their "
        "versions anew (for developers; needs uv)"
    )
    parser.add_argument("do", nargs="?", metavar="install|fetch|remove|lock", help=do)
    parser.add_argument("names", nargs="*", metavar="NAME", help="engines with one of their own")
    python = "install: the interpreter to use (default: qpipe's own); fetch: the version, 3.12"
    parser.add_argument("--python", metavar="PATH", help=python)
    folder = "install: take packages from this folder and from nowhere else"
    parser.add_argument("--from", dest="source", metavar="FOLDER", help=folder)
    here = "install: share the {} that is here, whatever the version"
    parser.add_argument("--torch", choices=["here"], help=here.format("torch"))
    parser.add_argument("--rest", choices=["here"], help=here.format("rest that FOLDER lacks"))
    parser.add_argument("--to", metavar="FOLDER", help="fetch: where wheels go")
    parser.add_argument("--cuda", metavar="13", help="fetch: with torch for this CUDA, 3 GB")
    parser.add_argument("--platform", help="fetch: linux-x86_64 (default) or linux-aarch64")
    parser.add_argument("--digest", metavar="NAME", help="print the name of an engine's folder")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """List stages and environments, or change them. Raises as `session.engines.change`."""
    from qpipe.commands.engines_text import changed_lines, document, listing
    from qpipe.session import engines

    options = engines.EnvironmentOptions.of(vars(args))
    if args.digest is not None:
        print(engines.digest(args.digest))
    elif args.do is None:
        options.check("without a verb")
        inventory = engines.inventory()
        if args.json:
            print_json("engines/1", document(inventory))
        else:
            print(listing(inventory))
    else:
        records = engines.change(args.do, args.names, options=options, say=_say)
        if args.json:
            print_json("environments/1", {"environments": records})
        for line in () if args.json else changed_lines(records):
            print(line)
    return 0


def _say(words: str) -> None:
    print(words, file=sys.stderr)
