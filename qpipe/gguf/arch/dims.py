"""The sizes of a model, which shapes of tensors are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from qpipe.gguf.config import Config


@dataclass(frozen=True)
class Dims:
    """The sizes in config.json that shapes are made of; ``own`` those of one architecture alone."""

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
    own: Mapping[str, int] = field(default_factory=dict)

    def size(self, name: str) -> int:
        """A size by its name, the architecture's own first."""
        return int(self.own[name] if name in self.own else getattr(self, name))

    def shape(self, names: Iterable[str]) -> tuple[int, ...]:
        """The sizes with these ``names``."""
        return tuple(self.size(name) for name in names)

    @property
    def qkv(self) -> int:
        """Rows of query, key and value projection in one."""
        return self.q + 2 * self.kv

    @property
    def ffn2(self) -> int:
        """Rows of gate and up projection in one."""
        return 2 * self.ffn

    @property
    def expert_ffn2(self) -> int:
        """Rows of gate and up projection of an expert in one."""
        return 2 * self.expert_ffn

    @property
    def hidden2(self) -> int:
        """Two hidden states side by side."""
        return 2 * self.hidden

    @property
    def q2(self) -> int:
        """Rows of the query projection and of a gate as large."""
        return 2 * self.q

    @property
    def q(self) -> int:
        """Rows of the query projection."""
        return self.heads * self.head_dim

    @property
    def kv(self) -> int:
        """Rows of the key and of the value projection."""
        return self.kv_heads * self.head_dim

    @classmethod
    def read(cls, config: Config, *experts: str, used: str = "num_experts_per_tok") -> Dims:
        """The sizes in ``config``; `CheckpointError` where they contradict each other.

        The first of the fields ``experts`` that is there has the number of experts, ``used`` that
        of those which compute a token.
        """
        hidden, heads = config.integer("hidden_size"), config.integer("num_attention_heads")
        kv_heads = config.integer("num_key_value_heads", heads)
        # Heads of latent attention have parts of their own sizes, one of which RoPE turns.
        turned = _optional(config, "head_dim", "qk_rope_head_dim")
        if not turned and hidden % heads:
            raise config.bad("num_attention_heads", f"a divisor of hidden_size ({hidden})")
        if heads % kv_heads:
            raise config.bad("num_key_value_heads", f"a divisor of num_attention_heads ({heads})")
        head_dim = turned or hidden // heads
        if head_dim % 2:  # RoPE turns pairs
            raise config.bad("head_dim", f"an even number (it is {head_dim})")
        several = isinstance(config.fields.get("intermediate_size"), list)
        n_experts = _optional(config, *experts)
        if n_experts:
            config.integer(used, most=n_experts)
        return cls(
            hidden=hidden,
            ffn=0 if several else _optional(config, "intermediate_size"),
            layers=config.integer("num_hidden_layers"),
            heads=heads,
            kv_heads=kv_heads,
            head_dim=head_dim,
            vocab=config.integer("vocab_size"),
            experts=n_experts,
            expert_ffn=_optional(config, "moe_intermediate_size"),
            shared_ffn=_optional(config, "shared_expert_intermediate_size"),
        )


def _optional(config: Config, *fields: str) -> int:
    """The first of ``fields`` that is there, 0 if none is."""
    return next((config.integer(field) for field in fields if config.has(field)), 0)
