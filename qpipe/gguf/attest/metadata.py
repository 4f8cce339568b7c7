"""The metadata of a published file beside those that the source gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qpipe.gguf import values
from qpipe.gguf.values import Metadata, Value

# Of the file itself and its making: names, dates, its type, its parts.
_APART = ("general.", "quantize.imatrix.", "qpipe.", "split.")
_COMPARED = ("general.architecture",)
_HEAD = 60  # characters of a value that are shown


@dataclass(frozen=True)
class KeyDifference:
    """A key whose values differ, as they are shown; None of a side that lacks it."""

    key: str
    file: str | None
    source: str | None


@dataclass(frozen=True)
class MetadataComparison:
    """The number of keys that are the ``same``, those ``different`` (or on one side alone), and
    those of the file that are set ``apart``: names, dates, types, which say nothing of the source.
    """

    same: int
    different: Sequence[KeyDifference]
    apart: Sequence[str]


def compare(file: Metadata, source: Metadata) -> MetadataComparison:
    """Compare hyperparameters and tokenizer; numbers of other types are the same if they are
    equal."""
    same, different = 0, []
    for key in dict.fromkeys([*file, *source]):
        if is_apart(key):
            continue
        theirs, ours = file.get(key), source.get(key)
        if theirs == ours or _equal(theirs, ours):
            same += 1
        else:
            different.append(_difference(key, theirs, ours))
    return MetadataComparison(same, different, [key for key in file if is_apart(key)])


def is_apart(key: str) -> bool:
    """True of a key that is of the file itself and not of the model."""
    return key.startswith(_APART) and key not in _COMPARED


def _equal(theirs: bytes | None, ours: bytes | None) -> bool:
    if theirs is None or ours is None or values.length(theirs) != values.length(ours):
        return False
    return values.decode(theirs) == values.decode(ours)


def _difference(key: str, theirs: bytes | None, ours: bytes | None) -> KeyDifference:
    if theirs is not None and ours is not None:
        file, source = values.decode(theirs), values.decode(ours)
        if isinstance(file, list) and isinstance(source, list) and len(file) == len(source):
            places = [i for i, pair in enumerate(zip(file, source, strict=True)) if _unlike(*pair)]
            at, count = places[0], len(places)
            which = f"{count:,} of {len(file):,} differ, first at {at}: "
            return KeyDifference(key, which + _shown(file[at]), _shown(source[at]))
    return KeyDifference(key, _value(theirs), _value(ours))


def _unlike(one: Value, other: Value) -> bool:
    return one != other


def _value(encoded: bytes | None) -> str | None:
    if encoded is None:
        return None
    length = values.length(encoded)
    return _shown(values.decode(encoded)) if length is None else f"{length:,} values"


def _shown(value: Value) -> str:
    shown = repr(value)
    return shown if len(shown) <= _HEAD else f"{shown[:_HEAD]}… ({len(shown):,} characters)"
