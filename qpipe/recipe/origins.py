"""Who set a field of a composed recipe: an override, or a line of a YAML file.

Nothing is read before a question is asked, and questions are asked for error messages only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

_INTERPOLATION = re.compile(r"\$\{([A-Za-z_][\w.]*)\}")
_MOST_HOPS = 20


@dataclass(frozen=True)
class Layer:
    """A YAML file that took part, and the dotted package that it was put at ("" for the root)."""

    path: str
    package: str = ""


@dataclass(frozen=True)
class _Place:
    """``depth`` parts of a field stand at ``where``; ``raw`` is the scalar there as written."""

    depth: int
    where: str
    raw: str | None


@dataclass(frozen=True)
class Origins:
    """Answers for one job: ``layers`` in the order of composition, then the value ``overrides``.

    ``recipe`` is the file that the command named; it answers for a field that nobody set.
    """

    recipe: str
    layers: Sequence[Layer]
    overrides: Sequence[str] = ()
    _trees: dict[str, yaml.Node | None] = field(default_factory=dict, compare=False, repr=False)

    def origin(self, field: str) -> str:
        """``FILE:LINE`` or ``the override '…'``; of the nearest field above one that nobody set."""
        place = self._follow(field)
        return place.where if place is not None else shown(self.recipe)

    def raw(self, field: str) -> str | None:
        """The scalar as written, before YAML gave it a type; None for all else."""
        place = self._follow(field)
        return place.raw if place is not None and place.depth == len(_parts(field)) else None

    def _follow(self, field: str) -> _Place | None:
        """Find a field; one that is set through ``${a.b}`` leads to what is set at ``a.b``."""
        for _ in range(_MOST_HOPS):
            parts = _parts(field)
            place = self._find(parts)
            link = _INTERPOLATION.fullmatch(place.raw or "") if place is not None else None
            if place is None or link is None or place.depth == len(parts):
                return place
            field = ".".join([link[1], *parts[place.depth :]])
        return place

    def _find(self, parts: list[str]) -> _Place | None:
        """The deepest answer; among equals the last to be composed."""
        answers = [_in_override(text, parts) for text in reversed(self.overrides)]
        below = [_below(text, parts) for text in reversed(self.overrides)]
        layers = [self._in_layer(layer, parts) for layer in reversed(self.layers)]
        if any(place is not None and place.raw is not None for place in layers):
            answers += below  # it made a mapping of what a file has as a single value
        answers += layers
        return max((a for a in answers if a is not None), key=lambda a: a.depth, default=None)

    def _in_layer(self, layer: Layer, parts: list[str]) -> _Place | None:
        package = _parts(layer.package)
        if parts[: len(package)] != package:
            return None
        tree = self._tree(layer.path)
        if tree is None:
            return None
        depth, key, value = _descend(tree, parts[len(package) :])
        if depth == 0:
            return None
        raw = value.value if isinstance(value, yaml.ScalarNode) else None
        where = f"{shown(layer.path)}:{key.start_mark.line + 1}"
        return _Place(len(package) + depth, where, raw)

    def _tree(self, path: str) -> yaml.Node | None:
        if path not in self._trees:
            try:
                text = Path(path).read_text(encoding="utf-8")
                self._trees[path] = yaml.compose(text, Loader=yaml.SafeLoader)
            except (OSError, UnicodeDecodeError, yaml.YAMLError):
                # The file went away or was edited since it was composed: it can say nothing now.
                self._trees[path] = None
        return self._trees[path]


def shown(path: str) -> str:
    """A path for people: relative to the current folder if it is below it."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return path


def line_of(path: str, name: str) -> str:
    """``FILE:LINE`` of the first key ``name`` anywhere in a YAML file."""
    node = yaml.compose(Path(path).read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    key = _first_key(node, name)
    return shown(path) if key is None else f"{shown(path)}:{key.start_mark.line + 1}"


def _first_key(node: yaml.Node | None, name: str) -> yaml.Node | None:
    children: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == name:
                return key
            children.append(value)
    elif isinstance(node, yaml.SequenceNode):
        children = node.value
    return next((hit for child in children if (hit := _first_key(child, name))), None)


def _parts(field: str) -> list[str]:
    return [part for part in re.split(r"[.\[\]]", field) if part]


def _descend(node: yaml.Node, parts: list[str]) -> tuple[int, yaml.Node, yaml.Node]:
    """The number of parts that lead down from ``node``, the key found last, and its value.

    A key may hold dots itself, as in ``tensor_types: {blk.0: Q8_0}``: it takes several parts.
    """
    key = node
    depth = 0
    while depth < len(parts):
        step = _step(node, parts[depth:])
        if step is None:
            break
        taken, key, node = step
        depth += taken
    return depth, key, node


def _step(node: yaml.Node, parts: list[str]) -> tuple[int, yaml.Node, yaml.Node] | None:
    if isinstance(node, yaml.SequenceNode):
        if parts[0].isdigit() and int(parts[0]) < len(node.value):
            item = node.value[int(parts[0])]
            return 1, item, item
        return None
    if not isinstance(node, yaml.MappingNode):
        return None
    for key, value in reversed(node.value):
        name = _parts(str(key.value))
        if name and parts[: len(name)] == name:
            return len(name), key, value
    # `<<: *anchor` brings keys in; those written out, above, come first.
    merged = [value for key, value in node.value if key.tag == "tag:yaml.org,2002:merge"]
    sources = [s for value in merged for s in (_items(value))]
    return next((step for source in sources if (step := _step(source, parts))), None)


def _items(node: yaml.Node) -> list[yaml.Node]:
    return list(node.value) if isinstance(node, yaml.SequenceNode) else [node]


def _below(text: str, parts: list[str]) -> _Place | None:
    """An override of a field inside the one at ``parts``."""
    key = _parts(text.lstrip("+~").partition("=")[0])
    inside = len(key) > len(parts) and key[: len(parts)] == parts
    return _Place(len(parts), f"the override {text!r}", None) if inside else None


def _in_override(text: str, parts: list[str]) -> _Place | None:
    if text.startswith("~"):
        return None
    name, _, value = text.lstrip("+").partition("=")
    key = _parts(name)
    if parts[: len(key)] != key:
        return None
    where = f"the override {text!r}"
    if len(key) == len(parts):
        return _Place(len(parts), where, value)
    if _INTERPOLATION.fullmatch(value):
        return _Place(len(key), where, value)
    # A mapping is merged in, so it answers only for the keys that it names.
    named = re.search(rf"(?<![\w.]){re.escape(parts[len(key)])}(?![\w.])", value)
    if value.startswith("[") or named:
        return _Place(len(parts), where, None)
    return None
