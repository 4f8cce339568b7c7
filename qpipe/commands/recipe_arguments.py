"""The arguments that run, plan, graph, explain and lock share, and the `Context` they come to."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qpipe.commands.output import say
from qpipe.commands.parser import add_json, add_runs, add_store
from qpipe.core.layout import DEFAULT_STORE, RunPaths
from qpipe.errors import UsageError
from qpipe.support.files import is_file

if TYPE_CHECKING:
    from qpipe.session.context import Context
    from qpipe.session.runs import RepeatedRun

# Hydra's own flags, passed on: option strings, and what argparse needs to know.
_INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
_HYDRA_FLAGS: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    (("--cfg", "-c"), {"choices": ("job", "hydra", "all"), "help": "print the config, and stop"}),
    (("--resolve",), {"action": "store_true", "help": "with --cfg: resolve interpolations"}),
    (("--package", "-p"), {"metavar": "FIELD", "help": "with --cfg: this part of the config"}),
    (
        ("--info", "-i"),
        {
            "nargs": "?",
            "const": "all",
            "choices": _INFO,
            "help": "print what Hydra found, and stop",
        },
    ),
    (("--hydra-help",), {"action": "store_true", "help": "Hydra's own help"}),
    (
        ("--shell-completion", "-sc"),
        {"action": "store_true", "help": "with install=SHELL: tab completion for that shell"},
    ),
)

# Where Hydra wants a config and any will do.
_ANY = "local"

_EPILOG = """\
RECIPE is a name under recipes/ or the path of a YAML file; `qpipe run RUN` goes on with a run, or
does it again. Overrides are Hydra's:
  qpipe {verb} demo quantize.type=Q5_0
  qpipe {verb} local model.source=DIR_OR_REPO_OR_FILE ~evaluate
  qpipe {verb} demo -m quantize.type=F16,Q8_0,Q4_0
"""


def add(parser: argparse.ArgumentParser, verb: str) -> None:
    """Add the recipe and its overrides, the folders, ``--json``, ``--quiet`` and Hydra's flags."""
    parser.usage = f"qpipe {verb} RECIPE [overrides] [-m] [options]"
    parser.epilog = _EPILOG.format(verb=verb)
    parser.set_defaults(verb=verb, keep_going=False, again=[])
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument(
        "-m", "--multirun", action="store_true", help="sweep: values with commas are alternatives"
    )
    add_json(parser)
    add_store(parser)
    add_runs(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress, only the answer")
    hydra = parser.add_argument_group("Hydra's own")
    for names, settings in _HYDRA_FLAGS:
        hydra.add_argument(*names, **settings)


def add_keep_going(parser: argparse.ArgumentParser) -> None:
    """Add ``--keep-going``."""
    parser.add_argument(
        "--keep-going",
        action="store_true",
        help="after a failure, also one that is foreseen, go on with all that does not need it "
        "(a sweep does after others); leave out jobs of a sweep whose settings do not go together",
    )


def add_again(parser: argparse.ArgumentParser) -> None:
    """Add ``--again``."""
    parser.add_argument(
        "--again",
        metavar="STAGE",
        action="append",
        default=[],
        help="make again what is cached of this stage, such as perplexity, or of all that use a "
        "kind, such as evaluate, and compare it with what was there; may be given several times",
    )


def shown_by_hydra(context: Context) -> bool:
    """Have Hydra answer on stdout if one of its flags asks for that; return whether one does."""
    if not context.request.flags:
        return False
    from qpipe.recipe import load

    load.drive(context.request, lambda jobs: [None for _ in jobs])
    return True


def context(args: argparse.Namespace) -> Context:
    """Return the `Context` that the arguments ask for. Raises UsageError without a recipe."""
    from qpipe.recipe.request import Request
    from qpipe.session.context import Context

    recipe, overrides = _recipe(args)
    if args.verb == "run" and (again := _again(recipe, args)):
        overrides = [*again.request.overrides, *overrides]
        recipe, args.multirun = again.request.recipe, args.multirun or again.request.multirun

    def notify(note: str) -> None:
        if not args.quiet:
            print(f"qpipe: {note}", file=sys.stderr)

    return Context(
        Request(recipe, tuple(overrides), multirun=args.multirun, flags=_flags(args)),
        store=Path(args.store),
        runs=Path(args.runs),
        keep_going=args.keep_going,
        again=tuple(args.again),
        notify=notify,
    )


def _again(name: str, args: argparse.Namespace) -> RepeatedRun | None:
    """The request of the run of that name, in the folder in which that was said if it is
    still there; None if there is no such run."""
    folders = (Path(args.runs, name), Path(name))
    if name != "latest" and not any(is_file(RunPaths(folder).summary) for folder in folders):
        return None
    from qpipe.session.runs import repeated

    again = repeated(name, Path(args.runs))
    here, args.runs = Path.cwd(), os.path.abspath(args.runs)  # noqa: PTH100
    if args.store == DEFAULT_STORE and again.store.is_dir():
        args.store = str(again.store)
    args.store = os.path.abspath(args.store)  # noqa: PTH100
    if again.folder != here and again.folder.is_dir():
        say(f"qpipe: in {again.folder}, as the run was", file=sys.stderr)
        os.chdir(again.folder)
    return again


def _recipe(args: argparse.Namespace) -> tuple[str, list[str]]:
    """The recipe, and the words after it."""
    words = list(args.words)
    if words and not _is_override(words[0]):
        return words[0], words[1:]
    if args.shell_completion or args.hydra_help:
        return _ANY, words
    if not words:
        raise UsageError(f"which recipe? {_shipped()}")
    raise UsageError(
        f"{words[0]}: an override where the recipe should be; the recipe comes first, as in "
        f"`qpipe {args.verb} demo {words[0]}`. {_shipped()}"
    )


def _flags(args: argparse.Namespace) -> tuple[str, ...]:
    """Hydra's own flags among the arguments, as Hydra reads them."""
    flags: list[str] = []
    for names, _ in _HYDRA_FLAGS:
        name = max(names, key=len)
        value = getattr(args, name.removeprefix("--").replace("-", "_"))
        if value is True:
            flags.append(name)
        elif value:
            flags += [name, value]
    return tuple(flags)


def _is_override(word: str) -> bool:
    """Return whether a word can only be an override: no recipe is called so, and no file."""
    return word[:1] in ("+", "~") or ("=" in word and not word.endswith((".yaml", ".yml")))


def _shipped() -> str:
    """The recipes that come with qpipe, each with the first line of its comment."""
    from qpipe.recipe.request import recipe_names, shipped_recipes

    lines = [
        f"  {name:<24} {_about(shipped_recipes() / f'{name}.yaml')}".rstrip()
        for name in recipe_names()
    ]
    return "\n".join(
        ["These come with qpipe; the path of a YAML file of your own does as well:", *lines]
    )


def _about(file: Path) -> str:
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("#") and not line.startswith("# @"):
            return line.lstrip("# ").rstrip()
    return ""
