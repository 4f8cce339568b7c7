"""`qpipe reference export|import|show|size`: a reference's log-probabilities as one file."""

from __future__ import annotations

import argparse

from qpipe.commands.output import print_json, say
from qpipe.commands.parser import add_json, add_runs, add_store
from qpipe.errors import UsageError

_DO = (
    "export: write a file of each reference that these runs, or beginnings of keys, have; "
    "import: check a file and put it into the store; show: what a file has; "
    "size: how large a file will be, of a model or of so many tokens of vocabulary"
)


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    """Add what is to be done, the names, and what each may be told."""
    parser.add_argument("do", metavar="export|import|show|size", help=_DO)
    parser.add_argument("names", nargs="+", metavar="RUN|KEY|FILE|MODEL", help="of what")
    out = "export: the file, or a folder (default: a name made here)"
    parser.add_argument("-o", "--output", metavar="FILE", help=out)
    parser.add_argument("--by", metavar="NAME", help="export: who measured, said in the file")
    alone = "export: only the digest of the text goes along"
    parser.add_argument("--without-text", action="store_true", help=alone)
    parser.add_argument("--dry-run", action="store_true", help="export: only say what would be")
    parser.add_argument("--text", metavar="FILE", help="size: the text that is measured on")
    parser.add_argument("--protocol", metavar="NAME", help="size: default llamacpp-512")
    parser.add_argument("--n-ctx", type=int, metavar="N", help="size: tokens of a window")
    parser.add_argument("--chunks", type=int, metavar="N", help="size: windows")
    add_json(parser)
    add_store(parser)
    add_runs(parser)


def run(args: argparse.Namespace) -> int:
    """Do it. Raises UsageError for what is none of the four, and what their use cases raise."""
    from qpipe.commands import reference_text

    if args.do not in reference_text.ANSWERS:
        raise UsageError(f"qpipe reference {args.do}: give export, import, show or size first")
    if args.do != "export" and len(args.names) > 1:
        raise UsageError(f"qpipe reference {args.do} takes one name, and was given {args.names}")
    reference_text.refuse(args)
    answer = reference_text.ANSWERS[args.do](args)
    if args.json:
        print_json("reference/1", answer.document)
    else:
        say("\n".join(answer.lines))
    return 0
