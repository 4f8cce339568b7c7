"""Which files of a folder are its model's weights.

Other layouts of the same weights, adapters and what an earlier save left may lie beside them.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection
from fnmatch import fnmatch

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"

# Mistral's own layout, and LoRA: no tool reads these as the model.
_BESIDE = ("consolidated*", "adapter_*")
# `qpipe.stages.base.REFERENCE_SUFFIX`: log-probabilities, and no weights.
_REFERENCES = "*.reference.safetensors"
_PART = re.compile(r"(?P<stem>model[^/]*)-[0-9]+-of-(?P<total>[0-9]+)\.safetensors")
_INDEXES = "*.safetensors.index*.json"
_WAY = "tools differ in which they read; name the one that you mean"


class AmbiguousError(ValueError):
    """A folder holds two sets of weights, of which tools read different ones."""


class IncompleteError(ValueError):
    """One of several files is missing; ``args`` are its name and the number of files."""


def is_beside(name: str) -> bool:
    """True if a file, of weights or not, belongs to another layout or to an adapter."""
    return any(fnmatch(name, pattern) for pattern in (*_BESIDE, _REFERENCES))


def are_named(name: str) -> bool:
    """True if a file's name stands for a checkpoint's weights: a file of them, or their index."""
    of_weights = name.endswith(".safetensors") and not fnmatch(name, _REFERENCES)
    return of_weights or fnmatch(name, _INDEXES)


def is_index(name: str) -> bool:
    """True if a file is an index of safetensors, the model's or that of another set."""
    return fnmatch(name, _INDEXES)


def named(name: str, names: Collection[str], index: Collection[str] | None) -> list[str]:
    """The files of the set of weights that ``name`` is one of, its index among them if that is
    the model's; ``index`` are the files that ``name`` lists, if it is an index itself.

    Raises IncompleteError for parts that are not all there.
    """
    if index is not None:
        return sorted([*index, *([INDEX] if name == INDEX else [])])
    part = _PART.fullmatch(name)
    return [name] if part is None else _whole(part["stem"], part["total"], names)


def weights(names: Collection[str], index: Collection[str] | None) -> list[str]:
    """The files with the model's weights, in order; none if there are none.

    ``index`` are those that the index names, None without one. Without an index, model.safetensors
    or its parts, as llama.cpp's converter finds them. Raises AmbiguousError for two sets, and
    IncompleteError for parts that are not all there.
    """
    files = sorted(n for n in names if fnmatch(n, "model*.safetensors") and are_named(n))
    if index is not None:
        if SINGLE in files and SINGLE not in index:
            raise AmbiguousError(_two(SINGLE, INDEX, f"the files in {INDEX}", index))
        others = [n for n in names if fnmatch(n, f"model{_INDEXES}") and n != INDEX]
        if others:
            raise AmbiguousError(f"holds two indexes of weights, {INDEX} and {others[0]}; {_WAY}")
        return sorted(index)
    sets: dict[tuple[str, str], list[str]] = {}
    for name in files:
        match = _PART.fullmatch(name)
        sets.setdefault((match["stem"], match["total"]) if match else (name, ""), []).append(name)
    if len(sets) > 1 and ((SINGLE, "") in sets or any(total for _, total in sets)):
        one, other = sorted(sets.values(), key=lambda each: each[0] != SINGLE)[:2]
        about = "parts without an index" if one[0] == SINGLE and other[1:] else "another set"
        raise AmbiguousError(_two(one[0], other[0], about, other))
    (stem, total), *_ = sets or [("", "")]
    return _whole(stem, total, files) if total else files


def _two(one: str, other: str, description: str, files: Collection[str]) -> str:
    shown = ", ".join(sorted(files)[:2]) + (", …" if len(files) > 2 else "")
    return (
        f"holds two sets of weights, {one} and {description} ({shown}), and {_WAY} (its {one} or "
        f"{other} as model.source), or remove the set that is out of date"
    )


def _whole(stem: str, total: str, names: Collection[str]) -> list[str]:
    """The parts that a name with ``total`` in it promises.

    Counted up to what is there: the number is a name's, and may be any.
    """
    width = len(total)
    expected = (f"{stem}-{i:0{width}d}-of-{total}.safetensors" for i in itertools.count(1))
    files = list(itertools.takewhile({*names}.__contains__, expected))
    if str(len(files)).zfill(width) != total:
        missing = f"{stem}-{len(files) + 1:0{width}d}-of-{total}.safetensors"
        raise IncompleteError(missing, total.lstrip("0") or "0")
    return files
