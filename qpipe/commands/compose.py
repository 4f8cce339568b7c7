"""run, plan, graph, explain, lock: from the command line to a `Request` and `Options`."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qpipe.commands.parser import add_json, add_runs, add_store
from qpipe.errors import UsageError

if TYPE_CHECKING:
    from qpipe.commands.options import Options
    from qpipe.recipe.request import Request

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
RECIPE is a name under recipes/ or the path of a YAML file. Overrides are Hydra's:
  qpipe {verb} demo quantize.type=Q5_0
  qpipe {verb} local model.source=DIR_OR_REPO_OR_FILE ~evaluate
  qpipe {verb} demo -m quantize.type=F16,Q8_0,Q4_0
"""


# Verb → the module that has a function of its name.
_MODULES = {
    "run": "qpipe.session.run",
    "plan": "qpipe.commands.forecasting",
    "graph": "qpipe.commands.forecasting",
    "explain": "qpipe.commands.forecasting",
    "lock": "qpipe.commands.lock",
}


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    """The arguments of the recipe verbs; ``run`` and ``graph`` have some of their own."""
    parser.usage = f"qpipe {verb} RECIPE [overrides] [-m] [options]"
    parser.epilog = _EPILOG.format(verb=verb)
    parser.set_defaults(verb=verb, keep_going=False, pin=False, format="text")
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument(
        "-m", "--multirun", action="store_true", help="sweep: values with commas are alternatives"
    )
    add_json(parser)
    add_store(parser)
    add_runs(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress, only the answer")
    if verb in ("run", "plan"):
        parser.add_argument(
            "--keep-going",
            action="store_true",
            help="after a failure, go on with all that does not need it; leave out jobs of a sweep "
            "whose settings do not go together",
        )
    if verb == "run":
        parser.add_argument("--pin", action="store_true", help="keep the artifacts from gc")
    if verb == "graph":
        parser.add_argument(
            "--format", choices=("text", "dot", "mermaid"), default="text", help="default: text"
        )
    hydra = parser.add_argument_group("Hydra's own")
    for names, settings in _HYDRA_FLAGS:
        hydra.add_argument(*names, **settings)


def run(args: argparse.Namespace) -> int:
    """Hand the request to the verb's function. Raises UsageError without a recipe."""
    request, options = request_and_options(args)
    module = importlib.import_module(_MODULES[args.verb])
    code: int = getattr(module, args.verb)(request, options)
    return code


def request_and_options(args: argparse.Namespace) -> tuple[Request, Options]:
    """What was asked for. Raises UsageError without a recipe."""
    from qpipe.commands.options import Options
    from qpipe.recipe.request import Request

    recipe, overrides = _recipe(args)
    return (
        Request(recipe, tuple(overrides), multirun=args.multirun, flags=_flags(args)),
        Options(
            store=Path(args.store),
            runs=Path(args.runs),
            json=args.json,
            keep_going=args.keep_going,
            pin=args.pin,
            quiet=args.quiet,
            format=args.format,
        ),
    )


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
    """Hydra's flags as Hydra reads them."""
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
    """Whether a word can only be an override: no recipe is called so, and no file."""
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
