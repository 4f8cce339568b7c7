"""The tensors of a checkpoint, from its config.json alone."""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from qpipe.errors import CheckpointError, nearest
from qpipe.gguf import arch, config_fields, convert
from qpipe.gguf.arch.base import MAX_EXPERTS, MAX_LAYERS
from qpipe.gguf.config import Config
from qpipe.gguf.safetensors import read_header
from qpipe.sizes import architectures
from qpipe.sizes.source import ModelSource

# As engines choose what they pack (qpipe/packed/matrices.py).
_EMBEDDINGS = ("embed", "norm", "wte", "wpe")
HEADS = frozenset(("lm_head", "embed_out"))

_MOST = 64
_kept: OrderedDict[str, CheckpointTensors] = OrderedDict()


# A model of many experts has its tens of thousands of tensors in some hundred groups.
_EXPERT = re.compile(r"(?<=\.experts\.)\d+(?=\.)")


@dataclass(frozen=True)
class AlikeTensors:
    """Tensors of one ``shape`` that differ by the number of an expert alone: ``name`` is the
    first's, ``label`` has ``*`` for the number, ``letters`` are those of all names."""

    name: str
    label: str
    shape: tuple[int, ...]
    count: int
    letters: int

    @cached_property
    def module(self) -> str | None:
        """The first's module, if it is a matrix that engines can pack, or the head."""
        module = self.name.removesuffix(".weight")
        last = module.rpartition(".")[2]
        embeds = any(word in last for word in _EMBEDDINGS) and module not in HEADS
        return module if module != self.name and len(self.shape) == 2 and not embeds else None

    @property
    def names(self) -> Iterator[str]:
        """The names of all, by their numbers."""
        if self.count == 1:
            return iter((self.name,))
        return (self.label.replace("*", str(number)) for number in range(self.count))


@dataclass(frozen=True)
class CheckpointTensors:
    """The tensors of a checkpoint, experts of a layer as one where they are ``alike``; ``notes``
    are what is not among them."""

    alike: Sequence[AlikeTensors]
    notes: tuple[str, ...] = ()

    @classmethod
    def of_shapes(
        cls, shapes: Iterable[tuple[str, tuple[int, ...]]], notes: tuple[str, ...] = ()
    ) -> CheckpointTensors:
        """The tensors with these names and shapes, experts that have numbers in their order."""
        return cls([*_grouped(shapes)], notes)

    @cached_property
    def count(self) -> int:
        """The number of tensors."""
        return sum(each.count for each in self.alike)

    @cached_property
    def weights(self) -> int:
        """The number of weights in all of them."""
        return sum(each.count * math.prod(each.shape) for each in self.alike)

    @cached_property
    def first(self) -> Mapping[str, tuple[int, ...]]:
        """Shapes by name, of those that are alike the first's."""
        return {each.name: each.shape for each in self.alike}

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shapes by name."""
        return {each.name: each.shape for each in self.single}

    @cached_property
    def single(self) -> Sequence[AlikeTensors]:
        """All of them, each by itself."""
        if self.count == len(self.alike):
            return self.alike
        return [
            AlikeTensors(name, name, each.shape, 1, len(name))
            for each in self.alike
            for name in each.names
        ]

    @cached_property
    def matrices(self) -> dict[str, tuple[int, int]]:
        """Modules that engines can pack, the head among them: (rows, columns)."""
        return {
            each.module: (each.shape[0], each.shape[1])
            for each in self.single
            if each.module is not None
        }

    @cached_property
    def fused(self) -> str | None:
        """A tensor with all experts of a layer, if there is one."""
        return next((n for n, s in self.first.items() if "expert" in n and len(s) == 3), None)


def _grouped(shapes: Iterable[tuple[str, tuple[int, ...]]]) -> Iterator[AlikeTensors]:
    """Experts that have all numbers from 0 as one, whatever else each by itself."""
    groups: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for name, shape in shapes:
        groups.setdefault((labelled(name), shape), []).append(name)
    for (label, shape), names in groups.items():
        whole = AlikeTensors(names[0], label, shape, len(names), sum(map(len, names)))
        if {*names} == {*whole.names}:
            yield replace(whole, name=next(whole.names))
        else:
            yield from (AlikeTensors(name, name, shape, 1, len(name)) for name in names)


def _numbered(name: str, shape: tuple[int, ...], count: int) -> AlikeTensors:
    """``count`` tensors that differ by the number in the first's ``name``, which is 0."""
    label = labelled(name)
    letters = count * (len(name) - 1) + sum(len(str(number)) for number in range(count))
    return AlikeTensors(name, label, shape, count, letters)


def labelled(name: str) -> str:
    """The name of a tensor, with ``*`` for the number of an expert."""
    return _EXPERT.sub("*", name) if ".experts." in name else name


def of(source: ModelSource) -> CheckpointTensors:
    """Every tensor that a checkpoint with this config.json has.

    Raises CheckpointError for a class of models that is not known, or a config that contradicts
    itself.
    """
    if source.identity not in _kept:
        while len(_kept) >= _MOST:
            _kept.popitem(last=False)
        stored = None if is_known(source.config) else _stored(source)
        _kept[source.identity] = _read(source.config) if stored is None else stored
    return _kept[source.identity]


def is_known(config: Config) -> bool:
    """True of a class whose tensors config.json alone tells."""
    names = (*arch.supported(), *architectures.names())
    return config.model_class in names


def _stored(source: ModelSource) -> CheckpointTensors | None:
    """The tensors in the headers of the safetensors files beside config.json; None where there are
    none. Raises CheckpointError for a damaged file."""
    if not source.weight_files:
        return None
    headers = map(read_header, source.weight_files)
    shapes = ((name, each.shape) for header in headers for name, each in header.items())
    note = (
        f"{source.config.model_class or 'a class that config.json does not name'}: its tensors are "
        "those in the headers of the safetensors files"
    )
    return CheckpointTensors.of_shapes(shapes, (note,))


def _read(config: Config) -> CheckpointTensors:
    own = architectures.tensors(config)
    if own is not None:
        return CheckpointTensors.of_shapes(own)
    if config.model_class not in arch.supported():
        known = (*arch.supported(), *architectures.names())
        name = config.model_class
        which = f"field 'architectures' names {name!r}" if name else "there is no 'architectures'"
        raise CheckpointError(
            f"{config.path}: {which}, so its tensors are not known without its weights: give the "
            "folder that has its safetensors files, whose headers are read, or the repository's "
            f"name (OWNER/NAME), of which they are fetched; {nearest(name, known)}"
        )
    architecture = arch.of(config)
    # What llama.cpp cannot compute, other formats hold as well.
    full = config_fields.with_defaults(config.text(), architecture.fields)
    architecture = replace(architecture.laid_out(()), sampled=True)
    full.integer("num_hidden_layers", most=MAX_LAYERS)
    for name in filter(full.has, architecture.expert_counts):
        full.integer(name, least=0, most=MAX_EXPERTS)
    entries = architecture.expected(architecture.dims(full), full)
    alike = [
        _numbered(name, entry.shape, entry.count if "*" in labelled(name) else 1)
        for name, entry in entries
        if convert.is_published(entry)
    ]
    towers = sorted(field for field in config.fields if field in ("vision_config", "audio_config"))
    notes = [f"{field}: its tensors are not counted" for field in towers]
    return CheckpointTensors(alike, tuple(notes))
