"""The tensors of a GGUF file as a fact of its artifact: type, shape and relative error of each.

In a manifest they are ``tensor_details``, a text for each name: ``Q4_K 1024x256 0.0713``, the shape
in numpy's order and ‖q − x‖ ÷ ‖x‖ if it is known.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

DETAILS = "tensor_details"

_TEXT = re.compile(r"(\w+) (\d{1,18}(?:x\d{1,18})*)(?: (\d[\d.]*(?:e-?\d{1,2})?))?")
_LAYER = re.compile(r"blk\.(\d{1,6})\.(.+)")


@dataclass(frozen=True)
class TensorDetail:
    """A tensor; ``error`` is relative to its source, None of one that was not quantized here."""

    name: str
    type: str
    shape: tuple[int, ...]
    error: float | None = None

    @property
    def layer(self) -> int | None:
        """The number of its layer; None of one that belongs to none."""
        match = _LAYER.fullmatch(self.name)
        return None if match is None else int(match[1])

    @property
    def kind(self) -> str:
        """Its name without that of the layer, and without ``.weight``."""
        match = _LAYER.fullmatch(self.name)
        return (self.name if match is None else match[2]).removesuffix(".weight")


def to_fact(tensors: Iterable[TensorDetail]) -> dict[str, str]:
    """Return the tensors as a manifest keeps them."""
    return {each.name: _text(each) for each in tensors}


def from_fact(fact: object) -> tuple[TensorDetail, ...]:
    """Read tensors as `to_fact` writes them: none of what an older artifact lacks, or of anything
    else."""
    if not isinstance(fact, dict):
        return ()
    matches = ((str(name), _TEXT.fullmatch(str(text))) for name, text in fact.items())
    return tuple(_detail(name, match) for name, match in matches if match is not None)


def _text(tensor: TensorDetail) -> str:
    shape = "x".join(map(str, tensor.shape))
    return f"{tensor.type} {shape}" + ("" if tensor.error is None else f" {tensor.error:.4g}")


def _detail(name: str, match: re.Match[str]) -> TensorDetail:
    kind, shape, error = match.groups()
    dims = tuple(map(int, shape.split("x")))
    return TensorDetail(name, kind, dims, None if error is None else float(error))
