"""An engine of one's own: GGUF whose first and last layers keep more bits than the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal

from pydantic import Field

import qpipe
from qpipe.core.graph import Resources
from qpipe.engines.common.gguf_engine import GGUF_FILE
from qpipe.engines.common.gguf_facts import file_facts
from qpipe.results import ModelFacts
from qpipe.stages import base
from qpipe.stages.engine import Engine, EngineParams


class SandwichParams(EngineParams):
    """All parameters are part of the key: another value makes another artifact."""

    method: Literal["sandwich"] = Field("sandwich", description="What is done: this.")
    engine: Literal["sandwich"] = Field("sandwich", description="The tool that does it.")
    inner: str = Field("Q4_0", description="The type of the layers in the middle.")
    outer: str = Field("Q8_0", description="The type of the first and the last layer.")


class Sandwich(Engine):
    """From a GGUF file in half precision; the recipe's `convert` makes that."""

    version = 1  # raise it when the same parameters give other bytes
    Params = SandwichParams
    accepts: ClassVar[Mapping[str, tuple[str, ...]]] = {"model": (base.GGUF,)}

    @classmethod
    def makes(cls, params: SandwichParams) -> str:
        """A GGUF file."""
        return base.GGUF

    @classmethod
    def fingerprint(cls, params: SandwichParams) -> Mapping[str, Any]:
        """What shapes the bytes: this package, and the quantizers of qpipe."""
        names = ("qpipe-sandwich", "gguf", "numba", "xllamacpp")
        return {"name": "sandwich", **{name: base.installed(name) for name in names}}

    @classmethod
    def resources(cls, params: SandwichParams, *, cores: int) -> Resources:
        """All cores, and some memory for each: what is booked before it starts."""
        return Resources(cpus=cores, memory=(304 << 20) + cores * (40 << 20))

    def run(self, params: SandwichParams, work: base.Work) -> ModelFacts:
        """Fill ``work.out``, and return what reports say of the model."""
        (model,) = work.inputs["model"].glob("*.gguf")
        layers = _layers(qpipe.inspect(model))
        qpipe.quantize(
            model,
            work.out / GGUF_FILE,
            params.inner,
            tensor_types={rf"blk\.(0|{layers - 1})\.(attn|ffn)_[a-z]+\.weight": params.outer},
            threads=work.threads,
            progress=lambda done, total: work.progress(done, total, "bytes"),
        )
        facts = file_facts(work.out / GGUF_FILE)
        return replace(facts, format=f"{params.outer}/{params.inner}")


def _layers(description: Mapping[str, Any]) -> int:
    names = [tensor["name"].split(".") for tensor in description["tensors"]]
    return len({name[1] for name in names if name[0] == "blk"})
