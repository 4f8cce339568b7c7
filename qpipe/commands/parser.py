"""argparse with our errors, and the options that verbs share."""

from __future__ import annotations

import argparse
import os
import re

from qpipe.core.layout import DEFAULT_RUNS, DEFAULT_STORE
from qpipe.errors import UsageError, nearest

TYPE_CHECKING = False  # typing's own would cost `qpipe ls` the import of typing
if TYPE_CHECKING:
    from typing import NoReturn


def _formatter(prog: str) -> argparse.HelpFormatter:
    # Given a width, argparse (3.10 to 3.13) does not import shutil, and with it all compression
    # modules, to find one.
    try:
        width = os.get_terminal_size().columns - 2
    except OSError:
        width = 98
    return argparse.RawDescriptionHelpFormatter(prog, width=min(width, 98), max_help_position=30)


class Parser(argparse.ArgumentParser):
    """A parser whose errors are UsageErrors; options are written out in full."""

    def __init__(self, *, prog: str, description: str) -> None:
        """Allow no abbreviations, so that a new option never changes what an old command means."""
        super().__init__(
            prog=prog,
            description=description,
            allow_abbrev=False,
            formatter_class=_formatter,
        )

    def error(self, message: str) -> NoReturn:
        """Raise UsageError with what argparse would print."""
        unknown = re.match(r"unrecognized arguments: (-\S+)", message)
        if unknown:
            options = [name for action in self._actions for name in action.option_strings]
            name = unknown[1].partition("=")[0]
            message = f"there is no option {name}; {nearest(name, options)}"
        raise UsageError(f"{message}\n{self.format_usage().rstrip()}")


def add_store(parser: argparse.ArgumentParser) -> None:
    """Add ``--store``, by default from QPIPE_STORE."""
    parser.add_argument(
        "--store",
        metavar="DIR",
        default=os.environ.get("QPIPE_STORE") or DEFAULT_STORE,
        help="the artifact store (QPIPE_STORE; default: ./outputs/store)",
    )


def add_runs(parser: argparse.ArgumentParser) -> None:
    """Add ``--runs``, by default from QPIPE_RUNS."""
    parser.add_argument(
        "--runs",
        metavar="DIR",
        default=os.environ.get("QPIPE_RUNS") or DEFAULT_RUNS,
        help="where runs are written (QPIPE_RUNS; default: ./outputs/runs)",
    )


def places(args: argparse.Namespace) -> str:
    """Return the options that name a store and a folder of runs to another command, as far as it
    would not take these by itself."""
    usual = {
        "store": os.environ.get("QPIPE_STORE") or DEFAULT_STORE,
        "runs": os.environ.get("QPIPE_RUNS") or DEFAULT_RUNS,
    }
    given = {name: str(getattr(args, name)) for name in usual}
    return "".join(
        f" --{name} {_quoted(value)}" for name, value in given.items() if value != usual[name]
    )


def _quoted(value: str) -> str:
    import shlex

    return shlex.quote(value)


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="answer with one JSON document")
