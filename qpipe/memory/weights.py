"""The bytes of a model's weights, and where of it they are."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

# A tensor's layer and role, by its name in GGUF and in checkpoints.
_LAYER = re.compile(r"(?:^|\.)(?:blk|layers|h|blocks|block)\.(\d+)\.")
_EXPERT = re.compile(r"_exps\b|\.experts\.")
_TABLE = re.compile(r"(?:^|\.)(?:\w*token_embd|embed_tokens\w*|wte|embed_in|word_embeddings)\b")
_HEAD = re.compile(r"(?:^|\.)(?:output|lm_head|embed_out)\.")


@lru_cache(maxsize=1 << 14)  # each format of a model has the same names
def tensor_role(name: str) -> tuple[int | None, str]:
    """The layer of a tensor, None outside of layers, and its role: expert, table, head or none."""
    if match := _LAYER.search(name):
        return int(match[1]), "expert" if _EXPERT.search(name) else ""
    return None, "table" if _TABLE.search(name) else "head" if _HEAD.search(name) else ""


@dataclass(frozen=True)
class Weights:
    """Bytes of weights: ``total``, those that are read for a token (``active``: of experts those
    that are chosen, of tables one row), those of each of ``layers``, of the ``embeddings`` and of
    the output matrix (``head``), which is 0 where the embeddings are it too. ``experts`` are those
    of all experts, of which a token takes ``share``.

    With ``total`` alone a model counts as one whose layers are all alike.
    """

    total: int
    active: int = 0
    layers: tuple[int, ...] = ()
    embeddings: int = 0
    head: int = 0
    experts: int = 0
    share: float = 0.0

    @classmethod
    def of_tensors(
        cls, tensors: Mapping[str, int], *, experts: int = 0, used: int = 0, extra: int = 0
    ) -> Weights:
        """The weights of tensors with so many bytes by name, GGUF's or a checkpoint's; ``used`` of
        ``experts`` compute a token, and the last ``extra`` layers predict further ones, which no
        runtime loads unless it is asked to."""
        layers: defaultdict[int, int] = defaultdict(int)
        experts_of: defaultdict[int, int] = defaultdict(int)
        outside = table = head = 0
        for name, size in tensors.items():
            layer, role = tensor_role(name)
            if layer is not None:
                layers[layer] += size
                if role:
                    experts_of[layer] += size
            elif role == "table":
                table += size
            else:
                outside += size
                head += size if role == "head" else 0
        depth = max(layers, default=-1) + 1 - extra
        kept = tuple(layers[i] for i in range(depth))
        sparse = sum(size for layer, size in experts_of.items() if layer < depth)
        total = sum(kept) + outside + table
        idle = sparse * (experts - used) // experts if experts else 0
        active = total - idle - (table if head else 0)
        share = used / experts if experts else 0.0
        return cls(total, active, kept, table, head, sparse, share)

    def read(self, tokens: int) -> int:
        """Bytes that a step with so many tokens reads: of those that one reads (``active``) all,
        and of the other experts those that are expected to be chosen by another token.

        Where each token chooses a ``share`` of the experts of a layer, none more likely than
        another, as routers are trained to (Switch Transformers, arXiv:2101.03961, section 2.2), and
        tokens choose independently, one is chosen by none of n tokens with the probability
        (1 - share)^n: 1 - (1 - share)^n of them are read.
        """
        chosen = 1 - (1 - self.share) ** tokens
        return self.active + round(self.experts * (chosen - self.share))

    def of_layer(self, index: int, count: int) -> int:
        """Bytes of one of ``count`` layers."""
        if self.layers:
            return self.layers[index] if index < len(self.layers) else 0
        return (self.total - self.embeddings - self.head) // max(count, 1)
