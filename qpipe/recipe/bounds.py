"""How large a recipe may become: asked before its anchors and interpolations are expanded.

Ten lines that each name the one before twice come to a thousand texts, forty to more than there is
memory for. Both sizes are found without expanding anything, each node being looked at once.
"""

from __future__ import annotations

import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import yaml

from qpipe import yamlbounds
from qpipe.errors import RecipeError
from qpipe.recipe.origins import shown
from qpipe.recipe.references import Path, nested, targets_of

MOST_BYTES = 4_000_000
MOST_VALUES = 200_000
MOST_CHARACTERS = 10_000_000
MOST_DEPTH = 100


def check_file(path: pathlib.Path) -> None:
    """Raise RecipeError for a recipe file that is too large or would be, its anchors expanded.

    A file that is no YAML is left to whoever reads it.
    """
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise RecipeError(
            f"{shown(str(path))}: {size:,} bytes, and a recipe has {MOST_BYTES:,} at most"
        )
    try:
        yamlbounds.check(path.read_bytes(), most_values=MOST_VALUES, most_depth=MOST_DEPTH)
    except yamlbounds.TooLargeError as error:
        raise RecipeError(f"{shown(str(path))}: {error}") from None
    except yaml.YAMLError:
        return


def check_expansion(raw: Mapping[str, Any], shown_as: str) -> None:
    """Raise RecipeError for a composed recipe (plain data, interpolations as written) whose
    interpolations would come to too much text, or to too long a chain."""
    try:
        characters = _Expansion(raw, shown_as).characters()
    except RecursionError:
        raise RecipeError(f"{shown_as}: references one behind another without end") from None
    if characters > MOST_CHARACTERS:
        raise RecipeError(
            f"{shown_as}: its interpolations (${{…}}) come to more than {MOST_CHARACTERS:,} "
            "characters; refer to less"
        )


class _Size(NamedTuple):
    """Characters of a resolved value, and the references one behind another that lead to it."""

    characters: float = 0
    chain: int = 0


class _Expansion:
    """The size of each field once it is resolved."""

    def __init__(self, raw: Mapping[str, Any], shown_as: str) -> None:
        self.raw = raw
        self.shown_as = shown_as
        self._sizes: dict[Path, _Size] = {}
        self._computed: list[int] = []

    def characters(self) -> float:
        """Characters of all fields once they are resolved.

        A text whose targets have computed names may lead to any of them.
        """
        return self._size(()).characters * math.prod(1 + count for count in self._computed)

    def _size(self, path: Path) -> _Size:
        if path not in self._sizes:
            self._sizes[path] = _Size()  # one that leads back to itself is told by who resolves it
            size = self._sizes[path] = self._own(path)
            if size.chain > MOST_DEPTH:
                raise RecipeError(
                    f"{self.shown_as}: {'.'.join(map(str, path))}: more than {MOST_DEPTH} "
                    "references one behind another"
                )
        return self._sizes[path]

    def _own(self, path: Path) -> _Size:
        value = _at(self.raw, path)
        if isinstance(value, Mapping):
            return _joined([self._size((*path, name)) for name in value])
        if isinstance(value, list):
            return _joined([self._size((*path, index)) for index in range(len(value))])
        if not isinstance(value, str) or "${" not in value:
            return _Size(len(str(value)))
        self._computed += [count] if (count := nested(value)) else []
        whole = _joined([self._size(_parts(name)) for name in targets_of(path, value)])
        return _Size(len(value) + whole.characters, 1 + whole.chain)


def _joined(sizes: Sequence[_Size]) -> _Size:
    chain = max((size.chain for size in sizes), default=0)
    return _Size(sum(size.characters for size in sizes), chain)


def _parts(name: str) -> Path:
    return tuple(int(part) if part.isdigit() else part for part in name.split("."))


def _at(raw: Any, path: Path) -> Any:
    for part in path:
        if isinstance(raw, Mapping):
            raw = raw.get(part, raw.get(str(part)))
        elif isinstance(raw, list) and isinstance(part, int) and part < len(raw):
            raw = raw[part]
        else:
            return None
    return raw
