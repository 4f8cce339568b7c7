"""Rooms import along the arrows below and no others; there is no circle, of rooms or of files."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "qpipe"

DRAWN = (PACKAGE.parent / "docs" / "architecture.md").read_text()
# A room, and those that it may import besides those of EVERYWHERE: the
# table of docs/architecture.md. A room inside another has a line of its own where it stands apart.
ARROWS = dict(re.findall(r"^\| `([\w.]+)` \| ([\w. ]*?) ?\| ", DRAWN, re.MULTILINE))
EVERYWHERE = {"errors", "machine", "support", ""}  # qpipe itself: the version

FILES = sorted(PACKAGE.rglob("*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


def room(module: str) -> str:
    names = module.split(".")[1:]
    return ".".join(names[:2]) if ".".join(names[:2]) in ARROWS else ".".join(names[:1])


def imports(path: Path) -> Iterator[str]:
    """The modules that a file imports anywhere in it, written out."""
    own = module_of(path)
    package = own if path.name == "__init__.py" else own.rpartition(".")[0]
    for item in ast.walk(ast.parse(path.read_text())):
        if isinstance(item, ast.Import):
            yield from (alias.name for alias in item.names)
        elif isinstance(item, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - item.level + 1]
            base = ".".join(
                [*(above if item.level else []), *([item.module] if item.module else [])]
            )
            for alias in item.names:
                name = f"{base}.{alias.name}"
                yield name if name in MODULES else base


def ours(path: Path) -> set[str]:
    return {name for name in imports(path) if name.split(".")[0] == "qpipe"}


def circle(graph: Mapping[str, Iterable[str]]) -> list[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_every_room_is_drawn() -> None:
    assert ARROWS.keys() | EVERYWHERE | {"data"} >= {room(module) for module in MODULES}
    assert ARROWS.keys() <= {room(module) for module in MODULES}


def test_rooms_import_along_the_arrows() -> None:
    drawn = {own: set(others.split()) | EVERYWHERE | {own} for own, others in ARROWS.items()}
    drawn |= dict.fromkeys(EVERYWHERE, EVERYWHERE)
    taken: set[tuple[str, str]] = set()
    faults: list[str] = []
    for module, path in MODULES.items():
        for name in ours(path):
            taken.add((room(module), room(name)))
            if room(name) not in drawn[room(module)]:
                faults.append(f"{path} imports {name}")
    assert not faults, "\n".join(faults)
    unused = [f"{a} → {b}" for a, others in ARROWS.items() for b in others.split()]
    unused = [arrow for arrow in unused if tuple(arrow.split(" → ")) not in taken]
    assert not unused, unused


def test_there_is_no_circle() -> None:
    assert not circle({own: others.split() for own, others in ARROWS.items()})
    assert not circle({name: ours(path) - {name} for name, path in MODULES.items()})


BARE = ("core", "machine", "results", "support")


def test_the_core_is_standard_library_only_and_hydra_stays_in_its_room() -> None:
    standard = {"qpipe", *sys.stdlib_module_names}
    allowed = {"qpipe.results.comparison": {"pandas", *standard}}  # once `to_pandas` is called
    faults = [
        f"{path} imports {name}"
        for module, path in MODULES.items()
        for top, name in {(name.split(".")[0], name) for name in imports(path)}
        if (room(module) in BARE and top not in allowed.get(module, standard))
        or (top in ("hydra", "omegaconf") and not module.startswith("qpipe.recipe.load"))
    ]
    assert not faults, "\n".join(faults)


LIGHT = (*BARE, "executors", "worker", "errors", "environments")
HEAVY = {"numpy", "pandas", "gguf", "xllamacpp", "pydantic", "hydra", "omegaconf", "rich", "torch"}


def test_light_rooms_import_nothing_heavy() -> None:
    """When they are really imported, by whatever way."""
    modules = [module for module in sorted(MODULES) if room(module) in LIGHT]
    assert len(modules) > 40
    code = (
        f"import importlib, sys\nfor name in {modules!r}:\n    importlib.import_module(name)\n"
        f"    heavy = {HEAVY!r} & {{m.split('.')[0] for m in sys.modules}}\n"
        "    assert not heavy, (name, heavy)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
