"""The types of another GGUF file's tensors, to be given to the tensors of a model alike."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from qpipe import errors
from qpipe.gguf import split
from qpipe.gguf.categories import quantizable
from qpipe.gguf.types import GGMLType
from qpipe.support.tensor_names import shortened

_LAYER = re.compile(r"blk\.(\d+)\.(.+)")
_SHOWN = 6
_WITH_VOCABULARY = ("token_embd.weight", "output.weight", "per_layer_token_embd.weight")


class ShapedTensor(Protocol):
    """A tensor of the model: shape in numpy order."""

    @property
    def name(self) -> str:
        """Its name in GGUF."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows…, weights per row."""


@dataclass(frozen=True)
class LikeFile:
    """A GGUF file ``name`` of quantization ``file_type``: type and shape (numpy order) of each of
    its tensors; ``words`` say where they are from, if from no file."""

    name: str
    file_type: str
    tensors: Mapping[str, tuple[GGMLType, tuple[int, ...]]]
    words: str | None = None

    @classmethod
    def read(cls, path: Path) -> LikeFile:
        """Read the headers of a file, or of all parts of a model. Raises `CheckpointError`."""
        file = split.read(path)
        tensors = {t.name: (t.type, t.shape) for t in file.tensors.values()}
        return cls(path.name, file.file_type, tensors)

    @classmethod
    def from_json(cls, record: Mapping[str, object]) -> LikeFile:
        """Read what `to_json` wrote."""
        listed = record["tensors"]
        assert isinstance(listed, Mapping), record
        tensors = {}
        for name, text in listed.items():
            kind, shape = str(text).split()
            tensors[str(name)] = (GGMLType[kind], tuple(map(int, shape.split("x"))))
        return cls(str(record["file"]), str(record["file_type"]), tensors)

    def to_json(self) -> dict[str, object]:
        """It as plain JSON."""
        tensors = {
            name: f"{kind.name} {'x'.join(map(str, shape))}"
            for name, (kind, shape) in self.tensors.items()
        }
        return {"file": self.name, "file_type": self.file_type, "tensors": tensors}

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of names and types alone."""
        types = sorted((name, kind.name) for name, (kind, _) in self.tensors.items())
        return hashlib.sha256(json.dumps(types).encode()).hexdigest()

    @property
    def bits_per_weight(self) -> float:
        """Bits of a weight, of all tensors together."""
        size = sum(kind.tensor_bytes(shape) for kind, shape in self.tensors.values())
        return 8 * size / sum(math.prod(shape) for _, shape in self.tensors.values())

    def type_of(self, name: str) -> GGMLType:
        """The type of a tensor that `check` has found."""
        return self.tensors[name][0]

    def check(
        self, tensors: Iterable[ShapedTensor], *, arch: str, ruled: Callable[[str], bool]
    ) -> None:
        """Raise `RecipeError` unless the file's types can be those of a model's matrices. For one
        that is ``ruled``, by a recipe's own rules, it may have any type or lack it."""
        own = {t.name: t.shape for t in tensors if quantizable(t.name, t.shape, arch=arch)}
        others = {
            name: shape
            for name, (_, shape) in self.tensors.items()
            if quantizable(name, shape, arch=arch)
        }
        shared = [name for name in own if name in others]
        self._refuse([n for n in own if n not in others and not ruled(n)], "it lacks", "")
        self._refuse([n for n in others if n not in own], "it has", " that the model lacks")
        self._refuse(
            [name for name in shared if not _same(name, own[name], others[name])],
            "it has",
            " of another shape than the model",
        )
        unknown = [name for name in shared if not (ruled(name) or _writes(self.type_of(name)))]
        kinds = ", ".join(sorted({self.type_of(name).name for name in unknown}))
        self._refuse(
            unknown,
            "it has",
            f" of types that qpipe does not write ({kinds})",
            "name others for them in quantize.tensor_types",
        )

    def _refuse(
        self,
        names: Sequence[str],
        has: str,
        what: str,
        remedy: str = "take a file of the same model",
    ) -> None:
        if names:
            tensors = "a tensor" if len(names) == 1 else f"{len(names)} tensors"
            raise errors.RecipeError(
                f"quantize.like: {self.name} does not fit the model: {has} {tensors}{what} "
                f"({_listed(names)}); {remedy}"
            )

    def note(self) -> str:
        """Name the file, and its types by the first digits of their digest."""
        if self.words is not None:
            return self.words
        return f"types like {self.name} ({self.digest[:12]})"

    def rules(self, *, arch: str) -> list[tuple[str, str]]:
        """The types as rules of a recipe, the last that matches counts: for each kind of tensor the
        type that most of its layers have, then those with others."""
        kinds: dict[str, dict[str, list[str]]] = {}
        alone: list[tuple[str, str]] = []
        for name, (kind, shape) in self.tensors.items():
            if not quantizable(name, shape, arch=arch):
                continue
            if match := _LAYER.fullmatch(name):
                kinds.setdefault(match[2], {}).setdefault(kind.name, []).append(match[1])
            else:
                alone.append((f"^{re.escape(name)}$", kind.name))
        return alone + [rule for rest, types in kinds.items() for rule in _of_kind(rest, types)]


def _of_kind(rest: str, types: Mapping[str, list[str]]) -> Iterator[tuple[str, str]]:
    """The rules for the tensors of one name in all layers."""
    most, *others = sorted(types, key=lambda kind: -len(types[kind]))
    yield rf"^blk\.\d+\.{re.escape(rest)}$", most
    for kind in others:
        layers = "|".join(sorted(types[kind], key=int))
        yield rf"^blk\.({layers})\.{re.escape(rest)}$", kind


def _same(name: str, mine: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """True for equal shapes; vocabularies may differ, by tokens that were added."""
    if name in _WITH_VOCABULARY and len(mine) == len(other):
        return mine[1:] == other[1:]
    return mine == other


def _writes(kind: GGMLType) -> bool:
    from qpipe.gguf import quantizers  # with numpy, which looking at a file does without

    return quantizers.writes(kind)


def _listed(names: Sequence[str]) -> str:
    short = shortened(names)
    more = f" and {len(short) - _SHOWN} more kinds" if len(short) > _SHOWN else ""
    return ", ".join(short[:_SHOWN]) + more
