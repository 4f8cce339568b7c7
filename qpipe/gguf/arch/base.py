"""What an architecture declares: its tensors with their shapes, and its own metadata."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from qpipe.gguf import config_fields, rope, scalings, values
from qpipe.gguf.arch import views
from qpipe.gguf.arch.dims import Dims
from qpipe.gguf.arch.views import Compute, View
from qpipe.gguf.config import Config
from qpipe.gguf.config_fields import INERT, Field, Fields, Flag, Only, Positive, Whole
from qpipe.gguf.safetensors import StoredTensor
from qpipe.gguf.scalings import Scalings

# llama.cpp, src/llama-hparams.h; the second is LLAMA_MAX_EXPERTS of older versions too.
MAX_LAYERS, MAX_EXPERTS = 512, 512

Vector = npt.NDArray[np.float32]

ALIKE = "llama.cpp computes all layers alike"

# What all have; sizes have no default here, for no checkpoint is without them.
BASE: Fields = {
    **INERT,
    **scalings.FIELDS,
    **dict.fromkeys(("hidden_size", "intermediate_size", "num_attention_heads"), Whole()),
    "num_hidden_layers": Whole(most=MAX_LAYERS),
    "num_key_value_heads": Whole(null=True),
    "head_dim": Whole(null=True),
    "vocab_size": Whole(),
    "max_position_embeddings": Whole(),
    "rms_norm_eps": Positive(1e-6),
    "tie_word_embeddings": Flag(False),
    "hidden_act": Only("silu", "swish", why="llama.cpp computes silu whatever a file says"),
    "sliding_window": Whole(null=True),
    "layer_types": Field(),
    "is_causal": Only(True, why="llama.cpp computes causal attention"),
    "per_layer_config": Only(None, {}, why=ALIKE),
    "attention_chunk_size": Only(None, why="llama.cpp has no chunked attention here"),
    "num_kv_shared_layers": Only(None, 0, why="llama.cpp shares no keys and values here"),
}


def plain_heads(config: Config) -> None:
    """Refuse a head size of its own, where llama.cpp has heads that share the hidden size."""
    hidden, heads = (config.integer(n) for n in ("hidden_size", "num_attention_heads"))
    if config.has("head_dim") and config.integer("head_dim") * heads != hidden:
        why = f"llama.cpp loads heads of hidden_size / num_attention_heads ({hidden} / {heads})"
        raise config.unfit("head_dim", f"{why} alone{config_fields.OTHER_METHODS}")


@dataclass(frozen=True)
class Part:
    """One tensor of GGUF out of a tensor of the checkpoint: its name below ``blk.N.`` there, its
    shape as names of sizes, and what of the checkpoint's tensor it is."""

    name: str
    shape: tuple[str, ...]
    view: View = views.whole


@dataclass(frozen=True)
class Spec:
    """One tensor of the checkpoint: its shape as names of `Dims` fields.

    ``when`` names the field of config.json that says whether it is there at all, ``layers`` says
    in which layers (or, of what is in none, whether), ``spare`` in which others it may be;
    ``zeros`` that llama.cpp loads it there too, without a use for it.
    ``view`` is what GGUF has of it in another order, or (``parts``) what it has
    in several tensors; ``compute`` what it has in place of each weight. ``name`` is its name in
    GGUF (below ``blk.N.`` in a layer) where the gguf package has none for it.
    """

    shape: tuple[str, ...]
    optional: bool = False
    when: str | None = None
    layers: Callable[[Config, int], bool] | None = None
    spare: Callable[[Config, int], bool] | None = None
    zeros: bool = False
    view: View = views.whole
    compute: Compute | None = None
    name: str | None = None
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Entry:
    """A tensor of the checkpoint and the sizes of its layer, which is None outside of layers; of
    those that become one it is one of ``count``."""

    spec: Spec
    dims: Dims
    layer: int | None = None
    count: int = 1

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """The shape in numbers."""
        return self.dims.shape(self.spec.shape)


@dataclass(frozen=True)
class Stack:
    """Tensors of one shape, by their names, that become one tensor ``merged``; of a ``sampled``
    architecture's the first alone is named."""

    merged: str
    names: tuple[str, ...]
    entry: Entry


def _nothing(config: Config, dims: Dims) -> values.Metadata:
    return {}


def _complete(config: Config) -> Iterable[str]:
    return ()


def _alike(config: Config, dims: Dims, layer: int) -> Dims:
    return dims


def _no_sizes(config: Config) -> Mapping[str, int]:
    return {}


def _all_kept(config: Config) -> Mapping[str, str]:
    return {}


def _llama3_factors(config: Config, dims: Dims) -> Mapping[str, Vector]:
    return rope.tensors(config, dims.head_dim)


def _as_stored(name: str, config: Config) -> str:
    return name


@dataclass(frozen=True)
class Architecture:
    """A family of checkpoints and its name in GGUF.

    ``variant`` gives another one for some configs of the same class, where GGUF has other names;
    ``fields`` says what is made of each field of config.json, ``rope`` what of RoPE in it;
    ``check`` notes what differs for long contexts, and raises `CheckpointError` for fields that
    only together cannot be expressed;
    ``model`` and ``layer`` list every tensor, the latter below ``model.layers.N.``;
    ``head_dim_default`` says that the head size is written even where config.json has none;
    ``space_prefix`` that tokenizer_config.json's ``add_prefix_space`` is handed on, and whether
    before or after the other keys of the vocabulary;
    ``added_tokens`` that tokenizer.json's added tokens go over a SentencePiece vocabulary;
    ``experts`` lists the matrices of one expert, ``{}`` in their names being its number, in the
    order in which each kind is written as one tensor [experts, ...] under the name with no number;
    ``layouts`` other ways in which checkpoints have the experts of a layer, in tensors of all;
    ``sampled`` that of the experts of a layer the first alone is listed, for foreseeing sizes;
    ``stacks`` matrices outside of layers of which several become one tensor, as of experts, by the
    name of the size that says how many;
    ``expert_counts`` are the fields with their number, the first that is there counts, and
    ``experts_used`` that with the number that computes a token;
    ``skipped`` names tensors that are passed over; ``own_head`` says that llama.cpp loads no model
    without a head of its own, so that a tied one is written as a copy of the embeddings;
    ``own_sizes`` gives sizes beside those of `Dims`, ``layer_dims`` those of one layer;
    ``renamed`` gives a tensor of the checkpoint the name that it has here, ``left_out`` patterns
    of those (by that name) that GGUF has no place for, each with the words for them;
    ``extra_layers`` names the field with the number of layers beyond ``num_hidden_layers``, which
    predict further tokens, where they are kept;
    ``sizes`` replaces the usual hyperparameters, ``kv_heads`` their number of key and value heads
    where layers differ, ``feed_forward`` the size that is feed_forward_length;
    ``before_all`` gives the keys that follow ``general.architecture``,
    ``after_file_type`` those that follow ``general.file_type``,
    ``after_vocabulary`` those that close the metadata; ``tensors`` vectors that are in no
    checkpoint.
    """

    name: str
    hf_names: tuple[str, ...]
    fields: Fields
    model: Mapping[str, Spec]
    layer: Mapping[str, Spec]
    variant: Callable[[Config], Architecture] | None = None
    rope: Scalings = field(default=Scalings())
    check: Callable[[Config], Iterable[str]] = field(default=_complete)
    experts: Mapping[str, Spec] = field(default_factory=dict)
    layouts: tuple[Mapping[str, Spec], ...] = ()
    sampled: bool = False
    stacks: Mapping[str, tuple[str, Spec]] = field(default_factory=dict)
    expert_counts: tuple[str, ...] = ()
    experts_used: str = "num_experts_per_tok"
    skipped: tuple[str, ...] = ()
    own_head: bool = False
    own_sizes: Callable[[Config], Mapping[str, int]] = field(default=_no_sizes)
    layer_dims: Callable[[Config, Dims, int], Dims] = field(default=_alike)
    renamed: Callable[[str, Config], str] = field(default=_as_stored)
    left_out: Callable[[Config], Mapping[str, str]] = field(default=_all_kept)
    extra_layers: str = ""
    sizes: Callable[[Config, Dims], values.Metadata] | None = None
    feed_forward: str = "ffn"
    kv_heads: Callable[[Config, Dims], Sequence[int]] | None = None
    head_dim_default: bool = False
    space_prefix: Literal["", "first", "last"] = ""
    added_tokens: bool = False
    before_all: Callable[[Config, Dims], values.Metadata] = field(default=_nothing)
    after_file_type: Callable[[Config, Dims], values.Metadata] = field(default=_nothing)
    after_vocabulary: Callable[[Config, Dims], values.Metadata] = field(default=_nothing)
    tensors: Callable[[Config, Dims], Mapping[str, Vector]] = field(default=_llama3_factors)

    def completed(self, config: Config) -> tuple[Config, tuple[str, ...]]:
        """``config`` as transformers completes it, and what there is to note of it.

        Raises `CheckpointError` for a field whose value GGUF or qpipe cannot express.
        """
        config = config.text()
        full, notes = scalings.standardized(config_fields.completed(config, self.fields), self.rope)
        notes += [*self.check(full), *config_fields.unknown(config, self.fields)]
        return full, tuple(notes)

    def dims(self, config: Config, names: Iterable[str] | None = None) -> Dims:
        """The sizes in a completed ``config`` of a checkpoint with tensors of these ``names``; of
        one that is not here yet (None) with the extra layers that the config tells of.

        Raises `CheckpointError` where they contradict each other.
        """
        dims = Dims.read(config, *self.expert_counts, used=self.experts_used)
        dims = replace(dims, own=self.own_sizes(config))
        if not self.extra_layers:
            return dims
        if names is None:
            extra = config.integer(self.extra_layers, 0, least=0)
            return replace(dims, layers=dims.layers + extra)
        numbered = (re.match(r"model\.layers\.(\d+)\.", name) for name in names)
        layers = max((int(found[1]) + 1 for found in numbered if found), default=0)
        return replace(dims, layers=max(dims.layers, layers))

    def named(
        self, tensors: Mapping[str, StoredTensor], config: Config
    ) -> tuple[dict[str, StoredTensor], tuple[str, ...]]:
        """A checkpoint's tensors by the names that they have here, without those that are left
        out, and a note on these."""
        patterns = {re.compile(p): words for p, words in self.left_out(config).items()}
        kept, beside = {}, Counter[str]()
        for stored, tensor in tensors.items():
            name = self.renamed(stored, config)
            words = next((w for p, w in patterns.items() if p.match(name)), None)
            if words is None:
                kept[name] = tensor
            else:
                beside[words] += 1
        return kept, tuple(f"{n} tensors are left out: {words}" for words, n in beside.items())

    def laid_out(self, names: Iterable[str]) -> Architecture:
        """The same for a checkpoint whose tensors have these ``names``: with its experts as they
        lie there."""
        there = {name.partition("model.layers.")[2].partition(".")[2] for name in names}
        used = [layout for layout in self.layouts if not there.isdisjoint(layout)]
        if not used and not self.experts:
            used = list(self.layouts[:1])
        if not used:
            return replace(self, layouts=())
        return replace(self, layouts=(), experts={}, layer={**self.layer, **used[0]})

    def expected(self, dims: Dims, config: Config) -> Iterator[tuple[str, Entry]]:
        """Every tensor that such a checkpoint may or must have, by name."""
        tied = config.flag("tie_word_embeddings")
        for name, spec in self.model.items():
            if not _there(spec, config, 0):
                continue
            of_head = replace(spec, optional=tied) if name == "lm_head.weight" else spec
            yield name, Entry(of_head, dims)
        for group in self.groups(dims, config):
            for stack in group:
                yield from dict.fromkeys(stack.names, stack.entry).items()
        for i in range(dims.layers):
            sizes = self.layer_dims(config, dims, i)
            for name, spec in self.layer.items():
                if _there(spec, config, i):
                    yield f"model.layers.{i}.{name}", Entry(spec, sizes, i)
                elif spec.spare is not None and spec.spare(config, i):
                    entry = Entry(replace(spec, optional=True), sizes, i)
                    yield f"model.layers.{i}.{name}", entry

    def groups(self, dims: Dims, config: Config) -> list[list[Stack]]:
        """The tensors that several become, those together that are written together: the experts
        of a layer."""
        outside = [
            [
                Stack(
                    name.replace(".{}", ""),
                    _numbered(name, dims.size(count)),
                    Entry(spec, dims, count=dims.size(count)),
                )
            ]
            for name, (count, spec) in self.stacks.items()
        ]
        listed = min(dims.experts, 1) if self.sampled else dims.experts
        return outside + [
            [
                Stack(
                    f"model.layers.{i}.{name.replace('{}.', '')}",
                    _numbered(f"model.layers.{i}.{name}", listed),
                    Entry(spec, self.layer_dims(config, dims, i), i, dims.experts),
                )
                for name, spec in self.experts.items()
                if _there(spec, config, i)
            ]
            for i in range(dims.layers)
        ]


def _there(spec: Spec, config: Config, layer: int) -> bool:
    """True if a layer has such a tensor."""
    if spec.when is not None and not config.flag(spec.when):
        return False
    return spec.layers is None or spec.layers(config, layer)


def _numbered(name: str, count: int) -> tuple[str, ...]:
    return tuple(name.format(i) for i in range(count))
