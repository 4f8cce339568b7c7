"""What an architecture declares: its tensors with their shapes, and its own metadata."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from qpipe.gguf import rope, values
from qpipe.gguf.config import Config


@dataclass(frozen=True)
class Dims:
    """The sizes in config.json that shapes are made of."""

    hidden: int
    ffn: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    experts: int = 0
    expert_ffn: int = 0
    shared_ffn: int = 0
    one: int = 1

    @property
    def qkv(self) -> int:
        """Rows of query, key and value projection in one."""
        return self.q + 2 * self.kv

    @property
    def ffn2(self) -> int:
        """Rows of gate and up projection in one."""
        return 2 * self.ffn

    @property
    def q(self) -> int:
        """Rows of the query projection."""
        return self.heads * self.head_dim

    @property
    def kv(self) -> int:
        """Rows of the key and of the value projection."""
        return self.kv_heads * self.head_dim

    @classmethod
    def read(cls, config: Config) -> Dims:
        """The sizes in ``config``; `CheckpointError` where they contradict each other."""
        hidden, heads = config.integer("hidden_size"), config.integer("num_attention_heads")
        kv_heads = config.integer("num_key_value_heads", heads)
        if not config.has("head_dim") and hidden % heads:
            raise config.bad("num_attention_heads", f"a divisor of hidden_size ({hidden})")
        if heads % kv_heads:
            raise config.bad("num_key_value_heads", f"a divisor of num_attention_heads ({heads})")
        return cls(
            hidden=hidden,
            ffn=config.integer("intermediate_size"),
            layers=config.integer("num_hidden_layers"),
            heads=heads,
            kv_heads=kv_heads,
            head_dim=config.integer("head_dim", hidden // heads),
            vocab=config.integer("vocab_size"),
            experts=_optional(config, *EXPERT_COUNTS),
            expert_ffn=_optional(config, "moe_intermediate_size"),
            shared_ffn=_optional(config, "shared_expert_intermediate_size"),
        )


EXPERT_COUNTS = ("num_local_experts", "num_experts")


def _optional(config: Config, *fields: str) -> int:
    """The first of ``fields`` that is there, 0 if none is."""
    return next((config.integer(field) for field in fields if config.has(field)), 0)


@dataclass(frozen=True)
class Spec:
    """One tensor of the checkpoint: its shape as names of `Dims` fields.

    ``rotary`` names the head count by which rotary halves are interleaved: llama.cpp's "norm"
    RoPE turns neighbouring rows, Hugging Face's the two halves of a head. ``shift`` is added to
    every weight. ``f32`` keeps a matrix in F32 whatever the file's type.
    """

    shape: tuple[str, ...]
    optional: bool = False
    rotary: str | None = None
    shift: float = 0.0
    f32: bool = False


@dataclass(frozen=True)
class Stack:
    """Matrices of all experts, by their names, that become one tensor ``merged``."""

    merged: str
    names: tuple[str, ...]
    spec: Spec


def _nothing(config: Config, dims: Dims) -> values.Metadata:
    return {}


def _complete(config: Config) -> None:
    return None


@dataclass(frozen=True)
class Architecture:
    """A family of checkpoints and its name in GGUF.

    ``model`` and ``layer`` list every tensor, the latter below ``model.layers.N.``;
    ``head_dim_default`` says that the head size is written even where config.json has none;
    ``space_prefix`` that tokenizer_config.json's ``add_prefix_space`` is handed on;
    ``added_tokens`` that tokenizer.json's added tokens go over a SentencePiece vocabulary;
    ``experts`` lists the matrices of one expert, ``{}`` in their names being its number, in the
    order in which each kind is written as one tensor [experts, ...] under the name with no number;
    ``skipped`` names tensors that are passed over;
    ``defaults`` are the fields that transformers fills in where config.json is silent;
    ``scalings`` are the ways of lengthening the context that llama.cpp's converter carries over;
    ``check`` raises `CheckpointError` for a config that the architecture cannot express;
    ``sizes`` replaces the usual hyperparameters;
    ``after_file_type`` gives the keys that follow ``general.file_type``,
    ``after_vocabulary`` those that close the metadata.
    """

    name: str
    hf_names: tuple[str, ...]
    model: Mapping[str, Spec]
    layer: Mapping[str, Spec]
    experts: Mapping[str, Spec] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    scalings: tuple[str, ...] = ("default", "linear", "yarn")
    check: Callable[[Config], None] = field(default=_complete)
    sizes: Callable[[Config, Dims], values.Metadata] | None = None
    head_dim_default: bool = False
    space_prefix: bool = False
    added_tokens: bool = False
    after_file_type: Callable[[Config, Dims], values.Metadata] = field(default=_nothing)
    after_vocabulary: Callable[[Config, Dims], values.Metadata] = field(default=_nothing)

    def completed(self, config: Config) -> Config:
        """``config`` with the defaults in place of what is missing or null, checked."""
        missing = {key: value for key, value in self.defaults.items() if not config.has(key)}
        full = Config(config.path, dict(config.fields) | missing)
        rope.require(full, *self.scalings)
        self.check(full)
        return full

    def expected(self, dims: Dims, *, tied: bool) -> dict[str, Spec]:
        """Every tensor that a checkpoint of these sizes may or must have, by name."""
        specs = dict(self.model)
        head = specs["lm_head.weight"]
        specs["lm_head.weight"] = Spec(head.shape, optional=tied or head.optional)
        for i in range(dims.layers):
            specs |= {f"model.layers.{i}.{name}": spec for name, spec in self.layer.items()}
            for merged in self.stacks(i, dims):
                specs |= dict.fromkeys(merged.names, merged.spec)
        return specs

    def stacks(self, layer: int, dims: Dims) -> list[Stack]:
        """The tensors that the experts of ``layer`` are merged into."""
        return [
            Stack(
                f"model.layers.{layer}.{name.replace('{}.', '')}",
                tuple(f"model.layers.{layer}.{name.format(i)}" for i in range(dims.experts)),
                spec,
            )
            for name, spec in self.experts.items()
        ]
