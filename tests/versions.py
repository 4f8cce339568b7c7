"""``python -m tests.versions``: the tables of tested versions in docs/engines.md.

Versions are those of constraints.txt and of the environments' locks; what holds one back is asked
of what is installed here, so the tables are made in the environment of the tests.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from qpipe.engines.common.checkpoint_engine import CheckpointEngine
from qpipe.engines.common.isolated_engine import IsolatedEngine
from qpipe.stages import registry

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "engines.md"
BEGIN, END = "<!-- versions: written by `make versions` -->", "<!-- end of versions -->"

# What several engines work with, and so must agree on.
SHARED = (
    "torch", "transformers", "compressed-tensors", "numpy", "numba", "accelerate", "tokenizers",
    "huggingface-hub", "datasets", "safetensors", "auto-round",
)  # fmt: skip
_CEILINGS = ("<", "<=", "==", "~=")


def tables() -> str:
    """Both tables, as docs/engines.md has them."""
    engines = [
        "| engine | for | version | works with | environment |",
        "|---|---|---|---|---|",
        *(f"| {' | '.join(row)} |" for row in engine_rows()),
    ]
    held = ["| package | tested | held there by |", "|---|---|---|", *map(_line, SHARED)]
    return "\n".join([*engines, "", *held])


def engine_rows() -> Iterator[Sequence[str]]:
    """A row for each tool that quantizes: its name, methods, version, what it works with, where."""
    methods: dict[str, list[str]] = {}
    tools: dict[str, list[type[Any]]] = {}
    for stage in registry.all_stages()["quantize"]:
        fields = stage.Params.model_fields
        if issubclass(stage, (CheckpointEngine, IsolatedEngine)):
            engine = str(fields["engine"].default)
            methods.setdefault(engine, []).append(str(fields["method"].default))
            tools.setdefault(engine, []).append(stage)
    for engine, stages in sorted(tools.items()):
        yield (engine, _listed(methods[engine]), *_versions(stages))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(f"`{name}`" for name in names))


def _versions(stages: Sequence[type[Any]]) -> tuple[str, str, str]:
    stage = stages[0]
    if issubclass(stage, CheckpointEngine):
        tool, *others = stage.PACKAGES
        shown = [f"{name} {pinned(name)}" for name in others]
        extras = sorted({each.EXTRA for each in stages})
        return pinned(tool), ", ".join(shown), f"extra {_listed(extras)}"
    lock = stage.environment.requirements_lock
    names = ("torch", "transformers", "numpy")
    shown = [f"{name} {lock.version(name)}" for name in names if name in lock.names]
    return lock.version(stage.tool), ", ".join(shown), "its own"


def pinned(name: str) -> str:
    """The version that constraints.txt has for the tests' Python."""
    found = re.findall(rf"(?mi)^{re.escape(name)}==([^\s;]+)(?:\s*;.*)?$", _constraints())
    return str(found[-1])


def _constraints() -> str:
    return (ROOT / "constraints.txt").read_text()


def _line(name: str) -> str:
    return f"| {name} | {pinned(name)} | {'; '.join(ceilings(name)) or 'nothing'} |"


def ceilings(name: str) -> Iterator[str]:
    """The distributions here that want no newer version of a package than some."""
    for tool in sorted(_tools()):
        for text in metadata.requires(tool) or ():
            wanted = Requirement(text)
            applies = wanted.marker is None or wanted.marker.evaluate({"extra": ""})
            bounded = [part for part in wanted.specifier if part.operator in _CEILINGS]
            if canonicalize_name(wanted.name) == name and applies and bounded:
                words = ", ".join(sorted(map(str, bounded)))
                yield f"{tool} {pinned(tool)} wants `{words}`"


def _tools() -> set[str]:
    """The engines' own packages, and what else measures or converts."""
    engines = {
        stage.PACKAGES[0]
        for stage in registry.all_stages()["quantize"]
        if issubclass(stage, CheckpointEngine)
    }
    return {*engines, "compressed-tensors", "lm-eval", "transformers", "optimum", "numba"}


def write() -> None:
    """Put the tables into the document."""
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    DOCUMENT.write_text(f"{before}{BEGIN}\n{tables()}\n{END}{after}")


if __name__ == "__main__":
    write()
