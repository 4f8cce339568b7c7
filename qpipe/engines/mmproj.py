"""mmproj: a model's towers for images and sound → a GGUF file beside that of its text model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import ClassVar, Literal

from pydantic import Field

from qpipe.core.graph import Resources
from qpipe.core.key import Json
from qpipe.engines.common import gguf_engine, pydist_converter
from qpipe.results.model import ModelFacts
from qpipe.stages import base
from qpipe.stages.engine import model_facts

FILE = "mmproj.gguf"


class MmprojParams(base.Params):
    """A model's towers as a GGUF file in one precision."""

    outtype: Literal["f32", "f16", "bf16"] = Field(
        "f16", description="The precision of the matrices."
    )
    name: gguf_engine.ModelName = Field(
        None,
        description=(
            "general.name of the file. null: what the folder or repository was called when it was"
            " first used."
        ),
    )


class Mmproj(base.Stage):
    """Runs llama.cpp's converter, for the option --mmproj of its programs."""

    kind = "mmproj"
    version = 1
    roles = ("checkpoint",)
    accepts: ClassVar[Mapping[str, tuple[str, ...]]] = {"checkpoint": (base.CHECKPOINT,)}
    unread: ClassVar[Mapping[str, tuple[str, ...]]] = {"checkpoint": base.TERMS}
    Params = MmprojParams

    @classmethod
    def fingerprint(cls, params: MmprojParams) -> Mapping[str, Json]:
        """The distribution that brings the converter, and what it reads checkpoints with."""
        from qpipe.gguf import pydist

        return {"name": pydist.DISTRIBUTION, **pydist.versions()}

    @classmethod
    def resources(cls, params: MmprojParams, *, cores: int) -> Resources:
        """It is given the weights tensor by tensor; torch and transformers take the rest."""
        return Resources(cpus=1, memory=pydist_converter.MEMORY)

    @classmethod
    def check(cls) -> str | None:
        """Return the problem, or None if the extra is installed."""
        from qpipe.gguf import pydist

        return pydist.problem()

    @classmethod
    def refuse(cls, params: MmprojParams, order: base.Order) -> None:
        """Raises CheckpointError for a model without towers, or with such as the converter does not
        know."""
        from qpipe.gguf import pydist
        from qpipe.gguf.config import Config

        if "checkpoint" in order.inputs:
            pydist.require_towers(Config.read(order.inputs["checkpoint"]))
        elif "checkpoint" in order.configs:
            pydist.require_towers(Config.read(order.configs["checkpoint"].parent))

    def run(self, params: MmprojParams, work: base.Work) -> ModelFacts:
        """Raises EngineMissingError if the extra is not installed, CheckpointError for a checkpoint
        that is damaged or that the converter refuses."""
        from qpipe.gguf.pydist import streaming

        record, out = work.origins["checkpoint"], work.out / FILE
        plan = streaming.convert(
            work.inputs["checkpoint"],
            out,
            outtype=params.outtype,
            name=gguf_engine.model_name(params.name, record),
            towers=True,
            progress=lambda done, total: work.progress(done, total, "bytes"),
            hashed=partial(work.keep, out),
        )
        made = replace(model_facts(**plan.facts), source=gguf_engine.origin(record))
        return made.adding(notes=[*plan.notes])
