"""`qpipe settings [GROUP]`: what a recipe may say, with values, defaults and a word on each."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

from qpipe.commands.output import print_json
from qpipe.commands.parser import add_json
from qpipe.errors import StoreError


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    """Add ``[GROUP]``, ``-o`` and ``--json``."""
    parser.add_argument(
        "group",
        metavar="GROUP",
        nargs="?",
        help="a block (model, run), a choice (quantize=gptq, or gptq), all choices (evaluate), or "
        "a setting (quantize.bits); none: the list of groups",
    )
    parser.add_argument(
        "-o", "--output", metavar="DIR", help="write all of it as Markdown pages into this folder"
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print settings, or write their pages. Raises UsageError for a group that is not there,
    StoreError for a folder that cannot be written."""
    from qpipe.commands import answers_text
    from qpipe.commands.settings_text import described, overview, pages
    from qpipe.recipe.settings import groups, groups_named

    every = groups()
    if args.output is not None:
        _write(Path(args.output), {**dict(pages(every)), "json.md": answers_text.page()})
        return 0
    shown = every if args.group is None else groups_named(args.group, every)
    if args.json:
        print_json("settings/1", {"groups": [dataclasses.asdict(group) for group in shown]})
    elif args.group is None:
        print(overview(every))
    else:
        print("\n\n".join(described(group) for group in shown))
    return 0


def _write(folder: Path, pages: dict[str, str]) -> None:
    try:
        for name, page in pages.items():
            (folder / name).write_text(page, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"{folder}: cannot be written to ({error.strerror})") from None
    print(f"written to {folder}", file=sys.stderr)
