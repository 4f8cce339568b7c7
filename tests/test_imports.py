"""Dependencies point one way, the core is standard library only, and Hydra stays in its room."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "qpipe"

# Who is higher may import who is lower, or its equal; never the other way.
HEIGHTS = {
    "__main__": 8,
    "cli": 7,
    "commands": 7,
    "recipe": 6,
    "report": 6,
    "executors": 6,
    "worker": 5,
    "stages": 4,
    "engines": 3,
    "evaluators": 3,
    "gguf": 3,
    "packed": 3,
    "calibration": 3,
    "llamacpp": 2,
    "hf": 2,
    "environments": 2,
    "core": 1,
    "yamlbounds": 0,
    "errors": 0,
    "": 0,  # qpipe itself: the version
}

# What plugins implement: the one way up.
_INTERFACES = (
    "base", "quantize", "gguf", "evaluate", "methods", "rules", "checkpoint", "isolated", "tokens",
    "architectures", "delivered",
)  # fmt: skip
INTERFACES = {f"qpipe.stages.{name}" for name in _INTERFACES}

FILES = sorted(PACKAGE.rglob("*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path) for path in FILES}


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


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


def ours(path: Path) -> list[str]:
    return [name for name in imports(path) if name.split(".")[0] == "qpipe"]


def test_every_room_has_a_height() -> None:
    assert {room(module) for module in MODULES} - {"data"} <= HEIGHTS.keys()
    assert len(FILES) > 50


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_arrow_points_the_other_way(path: Path) -> None:
    own = room(module_of(path))
    for name in ours(path):
        if HEIGHTS[room(name)] > HEIGHTS[own]:
            assert own in ("engines", "evaluators"), f"{path} imports {name}"
            assert name in INTERFACES, f"{path} imports {name}"


@pytest.mark.parametrize(
    "path", sorted((PACKAGE / "core").rglob("*.py")), ids=lambda path: str(path.name)
)
def test_the_core_is_standard_library_only(path: Path) -> None:
    for name in imports(path):
        top = name.split(".")[0]
        if top == "qpipe":
            assert room(name) in ("core", "errors", ""), f"{path} imports {name}"
        else:
            assert top in sys.stdlib_module_names, f"{path} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_hydra_is_imported_in_one_place(path: Path) -> None:
    where = path.relative_to(PACKAGE).as_posix()
    if where == "recipe/load.py" or where.startswith("recipe/load/"):
        return
    for name in imports(path):
        assert name.split(".")[0] not in ("hydra", "omegaconf"), f"{path} imports {name}"


def test_hydra_is_imported_there() -> None:
    found = {name.split(".")[0] for path in FILES for name in imports(path)}
    assert {"hydra", "omegaconf"} <= found


HEAVY = {"numpy", "gguf", "xllamacpp", "pydantic", "hydra", "omegaconf", "rich", "torch"}


@pytest.mark.parametrize(
    "module",
    [
        m
        for m in sorted(MODULES)
        if room(m) in ("core", "executors", "worker", "errors", "environments")
    ],
)
def test_light_rooms_import_nothing_heavy(module: str) -> None:
    """When it is really imported, by whatever way."""
    code = f"import sys, {module}; print(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(out.stdout.split()), out.stdout
