"""YAML of somebody else: how large it becomes once its anchors are expanded, and reading it.

The size is found without expanding anything, and asked for before nodes or values are made:
PyYAML's C composer (6.0) ends the process where a text is nested some ten thousand levels deep, and
forty lines that each name the one before twice come to more values than there is memory for.
"""

from __future__ import annotations

from typing import Any

import yaml

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_STARTS = (yaml.SequenceStartEvent, yaml.MappingStartEvent)
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_MOST_DIGITS = 400
_WRONG = (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError)


class Loader(yaml.SafeLoader):  # type: ignore[misc]  # yaml is untyped
    """PyYAML's own (6.0), but what its constructors raise of other kinds is a YAMLError, by line.

    ``2024-13-45`` is a ValueError there, ``!!bool x`` a KeyError, ``!!int ''`` an IndexError; and
    ``1:59:59…``, to the base of 60, becomes a number that cannot be written out.
    """

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """The value of a node."""
        if node.tag in _NUMBERS and len(node.value) > _MOST_DIGITS:
            raise yaml.constructor.ConstructorError(
                None, None, f"a number of {len(node.value):,} digits", node.start_mark
            )
        try:
            return super().construct_object(node, deep)
        except _WRONG as error:
            raise yaml.constructor.ConstructorError(
                None, None, f"no usable value: {error}", node.start_mark
            ) from None


class TooLargeError(ValueError):
    """A text that is nested too deep, or holds too many values; the message says where."""


def check(text: bytes, *, most_values: int, most_depth: int) -> None:
    """Raise TooLargeError for more than ``most_values`` values, those behind anchors counted as
    often as they are named, or more than ``most_depth`` levels; yaml.YAMLError for no YAML."""
    sizes, anchors = [0], list[str | None]()
    known: dict[str, int] = {}
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, _STARTS):
            sizes.append(1)
            anchors.append(event.anchor)
            if len(anchors) > most_depth:
                raise TooLargeError(f"{_line(event)}: more than {most_depth} levels deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            size, anchor = sizes.pop(), anchors.pop()
            sizes[-1] += size
            known |= {anchor: size} if anchor else {}
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor in anchors:
                raise TooLargeError(f"{_line(event)}: an anchor leads back to itself")
            sizes[-1] += known.get(event.anchor, 1)
        elif isinstance(event, yaml.ScalarEvent):
            sizes[-1] += 1
            known |= {event.anchor: 1} if event.anchor else {}
        if sizes[-1] > most_values:
            raise TooLargeError(
                f"{_line(event)}: more than {most_values:,} values once its anchors are expanded"
            )


def _line(event: yaml.Event) -> str:
    return f"line {event.start_mark.line + 1}"
