"""quantize: what every engine has in common; the engines are the files of qpipe/engines/."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from qpipe.results.model import ModelFacts
from qpipe.stages import base


class EngineParams(base.Params):
    """Base of the engines' parameters: subclasses give both fields their one value as default."""

    method: str = Field(description="What is done to the weights; `quantize=METHOD` chooses it.")
    engine: str = Field(description="The tool that does it, where several can.")

    allow_requantize: bool = Field(
        False,
        # It makes no difference to the bytes, so it is in no key.
        exclude=True,
        description=(
            "true: quantize also a checkpoint that has fewer than 8 bits a weight to fewer than 8 "
            "bits, which loses more than either. Others, such as FP8, are dequantized anyway."
        ),
    )

    def bits_per_weight(self) -> float | None:
        """About how many bits a weight takes; None if that is not known before."""
        return None


class Engine(base.Stage):
    """A tool that makes a smaller model of the one in role ``model``."""

    kind: ClassVar[str] = "quantize"
    roles: ClassVar[tuple[str, ...]] = ("model",)
    unread: ClassVar[Mapping[str, tuple[str, ...]]] = {"model": base.DOCUMENTS}

    @abc.abstractmethod
    def run(self, params: Any, work: base.Work) -> ModelFacts:
        """Fill ``work.out``; what reports say of the model in it."""

    @classmethod
    def makes(cls, params: EngineParams) -> str:
        """A GGUF file if that is the method, else a checkpoint folder."""
        return base.GGUF if params.method == "gguf" else base.CHECKPOINT

    @classmethod
    def bits(cls, params: EngineParams) -> float | None:
        """Bits per weight, as the method's parameters tell."""
        return params.bits_per_weight()


def model_facts(
    *,
    file_type: str,
    file_bytes: int,
    tensor_bytes: int,
    n_weights: int,
    bits_per_weight: float,
    architecture: str,
    types: Mapping[str, int],
    n_tensors: int,
) -> ModelFacts:
    """Facts of a model for reports: ``types`` is the number of tensors of each type."""
    return ModelFacts(
        format=file_type,
        size_bytes=file_bytes,
        weights=n_weights,
        bits_per_weight=bits_per_weight,
        tensor_bytes=tensor_bytes,
        architecture=architecture,
        tensors=n_tensors,
        tensor_types=dict(types),
    )
