"""Names that a shell completes: of what a store and a folder of runs hold, of types and settings.

Imports next to nothing before it is asked: the shell waits.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # typing's own would cost as much as this may
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

# Of bitsandbytes (qpipe/engines/common/methods.py: BnbParams).
_BNB_TYPES = ("nf4", "fp4", "int8")


def runs(folder: str) -> Iterator[str]:
    """Yield ``latest`` and the names of runs, the newest first; ``latest`` only if there is one."""
    from qpipe.session import run_states

    names = [record["name"] for record in run_states.states(folder)]
    yield from (["latest"] if names else [])
    yield from names


def keys(store: str) -> Iterator[str]:
    """Yield the keys of artifacts, as `qpipe ls` shows them."""
    yield from (entry["key"][:12] for entry in _entries(store))


def models(store: str) -> Iterator[str]:
    """Yield the names of the models of artifacts."""
    yield from {entry["model"]: None for entry in _entries(store) if entry["model"]}


def stages(store: str) -> Iterator[str]:
    """Yield the stages that made artifacts."""
    yield from {entry["stage"]: None for entry in _entries(store) if entry["stage"]}


def steps(store: str) -> Iterator[str]:
    """Yield the stages that made artifacts, by what recipes call them and by what they use."""
    for entry in _entries(store):
        yield entry["name"].partition("[")[0]
    yield from stages(store)


def environments() -> Iterator[str]:
    """Yield the engines that come with qpipe and have an environment of their own."""
    for room in ("engines", "evaluators"):
        folder = os.path.join(_package(), room, "isolated")  # noqa: PTH118
        for name in sorted(os.listdir(folder)):  # noqa: PTH208
            if name.endswith(".lock"):
                yield name.removesuffix(".lock").replace("_", "-")


def tables() -> Iterator[str]:
    """Yield the published tables that come with qpipe."""
    from qpipe.recipe.request import shipped_recipes

    for file in sorted((shipped_recipes() / "published").glob("*.yaml")):
        yield file.stem


def formats() -> list[str]:
    """Formats that `qpipe estimate` knows by name."""
    from qpipe.runtimes.formats import names

    return names()


def cards() -> Iterator[str]:
    """Yield the shortest name of each card that is known, in one word where there is one."""
    from qpipe.runtimes import cards as known

    yield from known.words()


def estimated() -> Iterator[str]:
    """Yield names of models whose shapes are known: recipes, and the hub's."""
    from qpipe.recipe.request import recipe_names
    from qpipe.sizes.known import entries

    yield from recipe_names()
    yield from entries()


def licences() -> list[str]:
    """Licences as the hub calls them, as far as their terms are known here."""
    from qpipe.export.licences import identifiers

    return identifiers()


def types(method: str) -> Iterator[str]:
    """Yield the values of ``quantize.type`` under ``quantize=METHOD``."""
    from qpipe.gguf.ftypes import FILE_TYPES

    yield from _BNB_TYPES if method.startswith("bnb") else FILE_TYPES


def groups(recipe: str) -> dict[str, list[str]]:
    """Return the config groups, shipped and beside a recipe's file, with their options."""
    from qpipe.recipe.request import shipped_recipes

    found: dict[str, list[str]] = {}
    beside = os.path.dirname(recipe) if recipe.endswith((".yaml", ".yml")) else None  # noqa: PTH120
    for root in dict.fromkeys(
        [str(shipped_recipes()), *([beside or "."] if beside is not None else [])]
    ):
        for group, options in _folders(root):
            found.setdefault(group, []).extend(o for o in options if o not in found.get(group, ()))
    return {group: options for group, options in found.items() if options}


def _folders(root: str) -> Iterator[tuple[str, list[str]]]:
    try:
        with os.scandir(root) as entries:
            names = sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))
        for name in names:
            inside = os.listdir(os.path.join(root, name))  # noqa: PTH118, PTH208
            yield name, sorted(n.removesuffix(".yaml") for n in inside if n.endswith(".yaml"))
    except OSError:  # not there, or not to be read
        return


def _entries(store: str) -> list[dict[str, Any]]:
    from qpipe.session import listing

    return listing.entries(store)


def _package() -> str:
    return os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
