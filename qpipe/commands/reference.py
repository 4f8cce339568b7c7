"""`qpipe reference export|import|show|size`: a reference's log-probabilities as one file."""

from __future__ import annotations

import argparse

from qpipe.commands.output import print_json, say
from qpipe.commands.parser import add_json
from qpipe.errors import UsageError, nearest

# Each has its own options and `--help`.
ACTIONS = {
    "export": "write a file of each reference that runs, or beginnings of keys, have",
    "import": "check every byte of a reference file and put it into the store",
    "show": "what a reference file says of itself; `qpipe verify FILE` checks its data too",
    "size": "how large a reference file will be, of a model or of so many tokens",
}


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    """Add the options of one of `ACTIONS` (``verb`` is ``reference export``), or their names."""
    from qpipe.commands import reference_options

    action = verb.partition(" ")[2]
    if action:
        reference_options.ADD[action](parser)
        parser.set_defaults(do=action)
    else:
        parser.add_argument("do", metavar="|".join(ACTIONS), nargs="?", help="see below")
        parser.add_argument("names", nargs="*", metavar="RUN|KEY|FILE|MODEL", help="of what")
        lines = [f"  {name:<8}{what}" for name, what in ACTIONS.items()]
        lines += ["", "`qpipe reference export --help`, and so on, has the options of each."]
        parser.epilog = "\n".join(["actions:", *lines])
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Do it. Raises UsageError for what is none of the four, and what their use cases raise."""
    from qpipe.commands import reference_text

    if args.do not in ACTIONS:
        near = "" if args.do is None else f" {args.do}: {nearest(args.do, ACTIONS)};"
        raise UsageError(f"qpipe reference{near or ':'} give export, import, show or size first")
    answer = reference_text.ANSWERS[args.do](args)
    if args.json:
        print_json("reference/1", answer.document)
    else:
        say("\n".join(answer.lines))
    return 0
