"""What an architecture declares: its tensors with their shapes, and its own metadata."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from qpipe.gguf import values
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
        )


@dataclass(frozen=True)
class Spec:
    """One tensor of the checkpoint: its shape as names of `Dims` fields.

    ``rotary`` names the head count by which rotary halves are interleaved: llama.cpp's "norm"
    RoPE turns neighbouring rows, Hugging Face's the two halves of a head.
    """

    shape: tuple[str, ...]
    optional: bool = False
    rotary: str | None = None


def _nothing(config: Config, dims: Dims) -> values.Metadata:
    return {}


@dataclass(frozen=True)
class Architecture:
    """A family of checkpoints and its name in GGUF.

    ``model`` and ``layer`` list every tensor, the latter below ``model.layers.N.``;
    ``head_dim_default`` says that the head size is written even where config.json has none;
    ``space_prefix`` that tokenizer_config.json's ``add_prefix_space`` is handed on;
    ``after_file_type`` gives the keys that follow ``general.file_type``.
    """

    name: str
    hf_names: tuple[str, ...]
    model: Mapping[str, Spec]
    layer: Mapping[str, Spec]
    head_dim_default: bool = False
    space_prefix: bool = False
    after_file_type: Callable[[Config, Dims], values.Metadata] = field(default=_nothing)

    def expected(self, dims: Dims, *, tied: bool) -> dict[str, Spec]:
        """Every tensor that a checkpoint of these sizes may or must have, by name."""
        specs = dict(self.model)
        head = specs["lm_head.weight"]
        specs["lm_head.weight"] = Spec(head.shape, optional=tied)
        for i in range(dims.layers):
            specs |= {f"model.layers.{i}.{name}": spec for name, spec in self.layer.items()}
        return specs
