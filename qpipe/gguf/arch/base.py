"""What an architecture declares: its tensors with their shapes, and its own metadata."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from qpipe.gguf import config_fields, scalings, values
from qpipe.gguf.config import Config
from qpipe.gguf.config_fields import INERT, Field, Fields, Flag, Only, Positive, Whole
from qpipe.gguf.scalings import Scalings

# llama.cpp, src/llama-hparams.h; the second is LLAMA_MAX_EXPERTS of older versions too.
MAX_LAYERS, MAX_EXPERTS = 512, 512

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
    def read(cls, config: Config, *experts: str) -> Dims:
        """The sizes in ``config``; `CheckpointError` where they contradict each other.

        The first of the fields ``experts`` that is there has the number of experts.
        """
        hidden, heads = config.integer("hidden_size"), config.integer("num_attention_heads")
        kv_heads = config.integer("num_key_value_heads", heads)
        if not config.has("head_dim") and hidden % heads:
            raise config.bad("num_attention_heads", f"a divisor of hidden_size ({hidden})")
        if heads % kv_heads:
            raise config.bad("num_key_value_heads", f"a divisor of num_attention_heads ({heads})")
        head_dim = config.integer("head_dim", hidden // heads)
        if head_dim % 2:  # RoPE turns pairs
            raise config.bad("head_dim", f"an even number (it is {head_dim})")
        n_experts = _optional(config, *experts)
        if n_experts:
            config.integer("num_experts_per_tok", most=n_experts)
        return cls(
            hidden=hidden,
            ffn=config.integer("intermediate_size"),
            layers=config.integer("num_hidden_layers"),
            heads=heads,
            kv_heads=kv_heads,
            head_dim=head_dim,
            vocab=config.integer("vocab_size"),
            experts=n_experts,
            expert_ffn=_optional(config, "moe_intermediate_size"),
            shared_ffn=_optional(config, "shared_expert_intermediate_size"),
        )


def plain_heads(config: Config) -> None:
    """Refuse a head size of its own, where llama.cpp has heads that share the hidden size."""
    hidden, heads = (config.integer(n) for n in ("hidden_size", "num_attention_heads"))
    if config.has("head_dim") and config.integer("head_dim") * heads != hidden:
        why = f"llama.cpp loads heads of hidden_size / num_attention_heads ({hidden} / {heads})"
        raise config.unfit("head_dim", f"{why} alone{config_fields.OTHER_METHODS}")


def _optional(config: Config, *fields: str) -> int:
    """The first of ``fields`` that is there, 0 if none is."""
    return next((config.integer(field) for field in fields if config.has(field)), 0)


@dataclass(frozen=True)
class Spec:
    """One tensor of the checkpoint: its shape as names of `Dims` fields.

    ``rotary`` names the head count by which rotary halves are interleaved: llama.cpp's "norm"
    RoPE turns neighbouring rows, Hugging Face's the two halves of a head. ``shift`` is added to
    every weight. ``f32`` keeps a matrix in F32 whatever the file's type. ``when`` names the field
    of config.json that says whether it is there at all.
    """

    shape: tuple[str, ...]
    optional: bool = False
    rotary: str | None = None
    shift: float = 0.0
    f32: bool = False
    when: str | None = None

    def sizes(self, dims: Dims) -> tuple[int, ...]:
        """The shape in numbers."""
        return tuple(int(getattr(dims, size)) for size in self.shape)


@dataclass(frozen=True)
class Stack:
    """Matrices of all experts, by their names, that become one tensor ``merged``."""

    merged: str
    names: tuple[str, ...]
    spec: Spec


def _nothing(config: Config, dims: Dims) -> values.Metadata:
    return {}


def _complete(config: Config) -> Iterable[str]:
    return ()


@dataclass(frozen=True)
class Architecture:
    """A family of checkpoints and its name in GGUF.

    ``fields`` says what is made of each field of config.json, ``rope`` what of RoPE in it;
    ``check`` notes what differs for long contexts, and raises `CheckpointError` for fields that
    only together cannot be expressed;
    ``model`` and ``layer`` list every tensor, the latter below ``model.layers.N.``;
    ``head_dim_default`` says that the head size is written even where config.json has none;
    ``space_prefix`` that tokenizer_config.json's ``add_prefix_space`` is handed on;
    ``added_tokens`` that tokenizer.json's added tokens go over a SentencePiece vocabulary;
    ``experts`` lists the matrices of one expert, ``{}`` in their names being its number, in the
    order in which each kind is written as one tensor [experts, ...] under the name with no number;
    ``expert_counts`` are the fields with their number, the first that is there counts;
    ``skipped`` names tensors that are passed over; ``own_head`` says that llama.cpp loads no model
    without a head of its own, so that a tied one is written as a copy of the embeddings;
    ``sizes`` replaces the usual hyperparameters;
    ``after_file_type`` gives the keys that follow ``general.file_type``,
    ``after_vocabulary`` those that close the metadata.
    """

    name: str
    hf_names: tuple[str, ...]
    fields: Fields
    model: Mapping[str, Spec]
    layer: Mapping[str, Spec]
    rope: Scalings = field(default=Scalings())
    check: Callable[[Config], Iterable[str]] = field(default=_complete)
    experts: Mapping[str, Spec] = field(default_factory=dict)
    expert_counts: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    own_head: bool = False
    sizes: Callable[[Config, Dims], values.Metadata] | None = None
    head_dim_default: bool = False
    space_prefix: bool = False
    added_tokens: bool = False
    after_file_type: Callable[[Config, Dims], values.Metadata] = field(default=_nothing)
    after_vocabulary: Callable[[Config, Dims], values.Metadata] = field(default=_nothing)

    def completed(self, config: Config) -> tuple[Config, tuple[str, ...]]:
        """``config`` as transformers completes it, and what there is to note of it.

        Raises `CheckpointError` for a field whose value GGUF or qpipe cannot express.
        """
        full, notes = scalings.standardized(config_fields.completed(config, self.fields), self.rope)
        notes += [*self.check(full), *config_fields.unknown(config, self.fields)]
        return full, tuple(notes)

    def expected(self, dims: Dims, config: Config) -> Iterator[tuple[str, Spec]]:
        """Every tensor that such a checkpoint may or must have, by name."""
        tied = config.flag("tie_word_embeddings")
        for name, spec in self.model.items():
            yield name, replace(spec, optional=tied) if name == "lm_head.weight" else spec
        layer = {k: s for k, s in self.layer.items() if s.when is None or config.flag(s.when)}
        for i in range(dims.layers):
            for name, spec in layer.items():
                yield f"model.layers.{i}.{name}", spec
            for merged in self.stacks(i, dims):
                yield from dict.fromkeys(merged.names, merged.spec).items()

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
