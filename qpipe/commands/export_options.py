"""Options of `qpipe export`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from qpipe.commands import publishing_options
from qpipe.errors import UsageError

if TYPE_CHECKING:
    from qpipe.session.export import ExportOptions


def add(parser: argparse.ArgumentParser) -> None:
    """Add ``--only``, ``--split-size``, ``--name``, ``--no-run``, ``--memory`` and those of a
    repository."""
    parser.add_argument("--only", metavar="NAMES", help="these rows or formats: Q4_K_M,Q8_0")
    parser.add_argument(
        "--split-size", metavar="SIZE", help="GGUF files in parts of at most 4GB, 800MB, …"
    )
    parser.add_argument("--name", metavar="NAME", help="what files are called, before the format")
    parser.add_argument(
        "--no-run", action="store_true", help="do not hand it to Ollama or vLLM where these are"
    )
    parser.add_argument(
        "--memory", metavar="SIZE", help="with --to vllm: of the GPU that serves it (24GB, 80GB)"
    )
    publishing_options.add(parser)


def read(args: argparse.Namespace) -> ExportOptions:
    """Return the options. Raises UsageError for sizes that are none."""
    from qpipe.session.export import ExportOptions
    from qpipe.support.quantities import parse_size

    split_size, memory = (
        None if given is None else parse_size(given, option=option)
        for option, given in (("--split-size", args.split_size), ("--memory", args.memory))
    )
    only = [name.strip() for name in (args.only or "").split(",") if name.strip()]
    if args.only is not None and not only:
        raise UsageError(f"--only {args.only!r}: names no row; leave it out for all of them")
    if memory == 0:
        raise UsageError("--memory 0: is no GPU's; give its memory (24GB), or leave it out")
    return ExportOptions(
        only,
        split_size,
        args.name,
        publishing=publishing_options.read(args),
        run=not args.no_run,
        memory=memory,
    )
