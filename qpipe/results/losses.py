"""What tensors lose in each type as a fact of a sensitivity's artifact: for each name a text,
``Q4_K 0.0043 Q6_K 0.00061``, KL divergences in nats."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

LOSSES = "tensor_losses"

_LAYER = re.compile(r"(?:blk|(?:.*\.)?(?:layers|blocks|block|h))\.(\d{1,6})\.(.+?)(?:\.weight)?")
_LOSS = re.compile(r"(\S+) (\d[\d.]*(?:e-?\d{1,3})?)(?: |$)")


@dataclass(frozen=True)
class TensorLoss:
    """A tensor, or modules that are computed as one: the KL divergence of the model that has it so,
    by the name of a type."""

    name: str
    losses: Mapping[str, float]

    @property
    def layer(self) -> int | None:
        """The number of its layer; None of one that belongs to none."""
        return place(self.name)[0]

    @property
    def kind(self) -> str:
        """Its name without that of the layer."""
        return place(self.name)[1]


def place(name: str) -> tuple[int | None, str]:
    """The layer of a tensor or module, None outside of all, and what it is there: 3 and
    ffn_down."""
    if match := _LAYER.fullmatch(name):
        return int(match[1]), match[2]
    return None, name.removesuffix(".weight")


def to_fact(tensors: Iterable[TensorLoss]) -> dict[str, str]:
    """Return the losses as a manifest keeps them."""
    return {
        each.name: " ".join(f"{kind} {kld:.4g}" for kind, kld in each.losses.items())
        for each in tensors
    }


def from_fact(fact: object) -> tuple[TensorLoss, ...]:
    """Read losses as `to_fact` writes them: none of what an older artifact lacks, or of anything
    else."""
    if not isinstance(fact, dict):
        return ()
    return tuple(
        TensorLoss(str(name), {kind: float(kld) for kind, kld in _LOSS.findall(str(text))})
        for name, text in fact.items()
    )
