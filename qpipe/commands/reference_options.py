"""The options of each action of `qpipe reference`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping

from qpipe.commands.parser import add_runs, add_store


def _export(parser: argparse.ArgumentParser) -> None:
    names = "a run (latest: the newest), or the first digits of a reference's key"
    parser.add_argument("names", nargs="+", metavar="RUN|KEY", help=names)
    out = "the file, or a folder (default: a name made of model, format, text and protocol, here)"
    parser.add_argument("-o", "--output", metavar="FILE", help=out)
    parser.add_argument("--by", metavar="NAME", help="who measured, said in the file")
    alone = "only the digest of the text goes along"
    parser.add_argument("--without-text", action="store_true", help=alone)
    dry = "say what would be written, to the byte, and write nothing"
    parser.add_argument("--dry-run", action="store_true", help=dry)
    add_store(parser)
    add_runs(parser)


def _import(parser: argparse.ArgumentParser) -> None:
    what = "a reference file here, on the hub (hf:OWNER/NAME@COMMIT/FILE) or at an address"
    parser.add_argument("names", nargs=1, metavar="FILE", help=what)
    add_store(parser)


def _show(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs=1, metavar="FILE", help="a reference file")


def _size(parser: argparse.ArgumentParser) -> None:
    what = "a model (a path, or a name on the hub), or the tokens of its vocabulary: 151,936"
    parser.add_argument("names", nargs=1, metavar="MODEL|TOKENS", help=what)
    parser.add_argument("--chunks", type=int, metavar="N", help="windows that are measured")
    text = "the text that is measured on, for an upper bound"
    parser.add_argument("--text", metavar="FILE", help=text)
    parser.add_argument("--protocol", metavar="NAME", help="default: llamacpp-512")
    width = "tokens of a window (default: the protocol's)"
    parser.add_argument("--n-ctx", type=int, metavar="N", help=width)
    add_store(parser)


ADD: Mapping[str, Callable[[argparse.ArgumentParser], None]] = {
    "export": _export,
    "import": _import,
    "show": _show,
    "size": _size,
}
"""Adds the arguments of an action by its name."""
