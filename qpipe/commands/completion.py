"""Tab completion: verbs, options, recipes, config groups, types, runs, keys, engines and stages;
fields of recipes by Hydra.

`eval "$(qpipe -sc install=bash)"` installs it (zsh likewise; for fish: `qpipe -sc install=fish |
source`). The shell then calls `qpipe -sc query=SHELL` with the line up to the cursor in COMP_LINE,
and gets whole words, one a line. All but fields of recipes takes little longer than Python's start.
"""

from __future__ import annotations

import os

from qpipe.commands.completion_scripts import SCRIPTS
from qpipe.core.layout import DEFAULT_RUNS, DEFAULT_STORE
from qpipe.errors import UsageError, nearest
from qpipe.session import completions

TYPE_CHECKING = False  # typing's own would cost as much as this may
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    Line = list[str]
    Names = Callable[[], Iterable[str]]

_RECIPE_VERBS = ("run", "plan", "graph", "explain", "lock")
_KEY_VERBS = ("rm", "show", "verify", "inspect", "export")
EXPORT_TARGETS = ("folder", "ollama", "hf", "vllm", "card")
_RUNTIMES = ("llama.cpp", "ollama", "vllm", "exllama", "transformers")
_GOALS = ("balanced", "quality", "size", "speed")
_RUN_VERBS = ("rm", "pin", "unpin", "status", "report", "check", "export")


def complete(words: Sequence[str], verbs: Mapping[str, tuple[str, str]]) -> None:
    """Print the script for a shell (``install=SHELL``), or what may stand at the end of COMP_LINE
    (``query=SHELL``). Raises UsageError for another shell."""
    asked = dict(word.split("=", 1) for word in words if "=" in word)
    if "query" not in asked:
        shell = asked.get("install", "")
        if shell not in SCRIPTS:
            raise UsageError(
                f"qpipe -sc install={shell or 'SHELL'}: {nearest(shell, SCRIPTS)} "
                '(as in `eval "$(qpipe -sc install=bash)"`)'
            )
        print(SCRIPTS[shell])
        return
    *before, last = _split(os.environ.get("COMP_LINE", ""))
    offered = _candidates(before, last, verbs)
    for word in dict.fromkeys(word for word in offered if word.startswith(last)):
        print(word)


def _split(line: str) -> list[str]:
    """The words after the program's name; the last, which is being typed, may be empty."""
    before, _, last = line.rpartition(" ")
    words = before.split()
    if any(sign in before for sign in "'\""):
        import shlex

        try:
            words = shlex.split(before)
        except ValueError:  # a quote that is still open
            words = before.split()
    return [*words[1:], last] if words else [""]


def _candidates(before: Line, last: str, verbs: Mapping[str, tuple[str, str]]) -> Iterable[str]:
    if not before:
        return [verb for verb in verbs if not last.startswith("-")] or ["--help", "--version"]
    verb = before[0]
    if verb not in verbs:
        return ()
    options = any(word.startswith("-") for word in (*before, last))
    actions = _actions(verb, verbs[verb][0], before[1:]) if options else ()
    taking = {name for a in actions if a.nargs != 0 for name in a.option_strings}
    if before[-1] in taking:
        return _values(before[-1], actions, before)
    if last.startswith("-"):
        return [name for action in actions for name in action.option_strings]
    return _positional(verb, _typed(before[1:], taking), before, last)


def _actions(verb: str, file: str, words: Line) -> Sequence[argparse.Action]:
    """The options of a verb, or of what among ``words`` is an action of it, as its own parser has
    them."""
    import importlib

    from qpipe.commands.parser import Parser

    parser = Parser(prog=verb, description="")
    module = importlib.import_module(f"qpipe.commands.{file}")
    action = next((word for word in words if word in getattr(module, "ACTIONS", ())), None)
    module.configure(parser, verb if action is None else f"{verb} {action}")
    return parser._actions


def _typed(words: Sequence[str], taking: Iterable[str]) -> Line:
    """Words that are neither options nor their values."""
    return [
        word
        for previous, word in zip(["", *words], words)  # noqa: B905  one shorter
        if not word.startswith("-") and previous not in taking
    ]


def _values(option: str, actions: Iterable[argparse.Action], before: Line) -> Iterable[str]:
    """Values of an option: its choices, or names of what is there; none for a path."""
    choices = [a.choices for a in actions if option in a.option_strings and a.choices]
    if choices:
        return [str(choice) for choice in choices[0]]
    store, runs = _places(before)
    names: dict[str, Names] = {
        "--model": lambda: completions.models(store),
        "--stage": lambda: completions.stages(store),
        "--again": lambda: completions.steps(store),
        "--run": lambda: completions.runs(runs),
        "--to": lambda: EXPORT_TARGETS,
        "--license": completions.licences,
        "--type": completions.formats,
        "--gpu": completions.cards,
        "--runtime": lambda: _RUNTIMES,
        "--prefer": lambda: _GOALS,
    }
    return names[option]() if option in names else ()


def _positional(verb: str, typed: Line, before: Line, last: str) -> Iterator[str]:
    store, runs = _places(before)
    if verb in _RECIPE_VERBS:
        yield from _of_override(verb, typed, last) if typed else _of_recipe(verb, runs)
    if verb in ("estimate", "advise") and not typed:
        yield from completions.estimated()
    if verb == "repro":
        yield from completions.tables()
    if verb == "engines":
        yield from completions.environments() if typed else ("install", "fetch", "remove", "lock")
    if verb == "reference":
        yield from _of_reference(typed, store, runs)
    if verb == "settings" and not typed:
        yield from ("model", "run", "executor", "stages.NAME")
        for group, options in completions.groups("").items():
            yield from (
                f"{group}={option}" for option in options if group in ("quantize", "evaluate")
            )
    if verb in _RUN_VERBS:
        yield from completions.runs(runs)
    if verb in _KEY_VERBS:
        yield from completions.keys(store)


def _of_reference(typed: Line, store: str, runs: str) -> Iterator[str]:
    """Words for the act, and of export the runs and keys; files are the shell's."""
    from qpipe.commands.reference import ACTIONS

    if not typed:
        yield from ACTIONS
    elif typed[0] == "export":
        yield from completions.runs(runs)
        yield from completions.keys(store)


def _of_recipe(verb: str, runs: str) -> Iterator[str]:
    from qpipe.recipe.request import recipe_names

    yield from recipe_names()
    if verb == "run":  # which goes on with one
        yield from completions.runs(runs)


def _of_override(verb: str, typed: Line, last: str) -> Iterator[str]:
    """Options of a config group, types, and else what Hydra says; of a list of values the last."""
    recipe, *overrides = typed
    key, equals, values = last.partition("=")
    done = f"{key}=" + "".join(f"{value}," for value in values.split(",")[:-1])
    groups = completions.groups(recipe)
    if equals and key in groups:
        yield from (f"{done}{option}" for option in groups[key])
    elif equals and key == "quantize.type":
        chosen = [
            word.removeprefix("quantize=") for word in overrides if word.startswith("quantize=")
        ]
        yield from (f"{done}{name}" for name in completions.types((chosen or [""])[-1]))
    elif not equals or values == "":
        yield from _by_hydra(verb, recipe, last)


def _by_hydra(verb: str, recipe: str, last: str) -> list[str]:
    """Fields of the composed recipe, by Hydra's own completion (1.3)."""
    import contextlib
    import io

    from qpipe.errors import QpipeError
    from qpipe.recipe import load
    from qpipe.recipe.request import Request

    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(QpipeError):  # half a line is wrong
        load.drive(
            Request(recipe, ("query=bash",), flags=("--shell-completion",)),
            lambda jobs: [None for _ in jobs],
        )
    return said.getvalue().split()


def _places(before: Line) -> tuple[str, str]:
    """The store and the folder of runs that a line means."""
    store = os.environ.get("QPIPE_STORE") or DEFAULT_STORE
    runs = os.environ.get("QPIPE_RUNS") or DEFAULT_RUNS
    for option, value in zip(before, [*before[1:], ""]):  # noqa: B905  equal by construction
        store = value if option == "--store" else store
        runs = value if option == "--runs" else runs
    return store, runs
