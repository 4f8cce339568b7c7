"""`qpipe inspect PATH`: what a checkpoint holds, and what made it if that is known."""

from __future__ import annotations

import argparse

from qpipe.commands.output import print_json
from qpipe.commands.parser import add_json, add_store
from qpipe.report import text


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    """Add ``PATH``, ``--tensors``, ``--rules``, ``--json`` and ``--store``."""
    parser.add_argument(
        "path",
        metavar="PATH",
        help="a .gguf or .safetensors file, a checkpoint's folder, or the first digits of an "
        "artifact's key",
    )
    parser.add_argument("--tensors", action="store_true", help="list every tensor")
    parser.add_argument(
        "--rules",
        action="store_true",
        help="the types of a GGUF file's tensors as rules for a recipe, and nothing else",
    )
    add_json(parser)
    add_store(parser)


def run(args: argparse.Namespace) -> int:
    """Describe a checkpoint. Raises CheckpointError for what is damaged or not understood."""
    from qpipe.commands.inspect_text import errors, origin, rules, summary, tensors, types
    from qpipe.session.functions import inspect
    from qpipe.session.type_rules import type_rules

    if args.rules and not args.json:
        print(rules(type_rules(args.path, store=args.store)))
        return 0
    description = inspect(args.path, store=args.store)
    if args.json:
        own = {"rules": type_rules(args.path, store=args.store)} if args.rules else {}
        print_json("inspect/1", description | own)
        return 0
    print(text.pairs(summary(description)))
    print()
    print(types(description["types"]))
    if description["made_by"] is not None:
        print()
        print(text.pairs([("made by", origin(description["made_by"]))]))
    if of_kinds := errors(description["tensors"], description["made_by"]):
        print()
        print(of_kinds)
    if args.tensors:
        print()
        print(tensors(description["tensors"]))
    return 0
