"""convert: a checkpoint as it was published → a GGUF file in F32, F16 or BF16."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator

from qpipe.core.graph import Resources
from qpipe.core.key import Json
from qpipe.core.link import link
from qpipe.errors import CheckpointError
from qpipe.stages import base
from qpipe.stages.quantize import GGUF_FILE, file_facts, model_facts
from qpipe.stages.sources import parse_hub

_FLOATS = ("F32", "F16", "BF16")


def model_name(source: str | None) -> str | None:
    """The name under which a source is known: a repository's id, or a folder's or file's name."""
    if source is None or Path(source).expanduser().exists():
        return Path(source).expanduser().resolve().name if source else None
    if hub := parse_hub(source, None):
        return hub.repo
    return PurePosixPath(source.removeprefix("builtin:")).name


class ConvertParams(base.Params):
    """``outtype`` source keeps the precision of the checkpoint's matrices.

    ``name`` (or a source, of which the last part is taken) becomes ``general.name``.
    ``pretokenizer`` is llama.cpp's name for how a BPE tokenizer splits words, for a tokenizer that
    is not recognized.
    """

    to: Literal["gguf"] = "gguf"
    outtype: Literal["source", "f32", "f16", "bf16"] = "f16"
    name: Annotated[str | None, AfterValidator(model_name)] = None
    pretokenizer: str | None = None


class Convert(base.Stage):
    """Also takes a GGUF file in F32, F16 or BF16, which passes through as it is."""

    kind = "convert"
    version = 1
    roles = ("checkpoint",)
    Params = ConvertParams

    @classmethod
    def fingerprint(cls, params: ConvertParams) -> Mapping[str, Json]:
        """The gguf package names tensors and metadata."""
        return {"name": "qpipe.gguf", "version": 1, "gguf": base.installed("gguf")}

    @classmethod
    def resources(cls, params: ConvertParams, *, cores: int) -> Resources:
        """Reading and writing bound it: one core."""
        return Resources(cpus=1, memory=256 << 20)

    def run(self, params: ConvertParams, work: base.Work) -> Mapping[str, Json]:
        """Raises CheckpointError for a checkpoint that is damaged or of an unknown architecture."""
        checkpoint = work.inputs["checkpoint"]
        if files := sorted(checkpoint.glob("*.gguf")):
            return _pass_through(files, work)
        from qpipe.gguf.convert import convert

        facts = convert(
            checkpoint,
            work.out / GGUF_FILE,
            outtype=_outtype(params, checkpoint),
            name=params.name,
            pretokenizer=params.pretokenizer,
            threads=work.threads,
            progress=lambda done, total: work.progress(done, total, "bytes"),
        )
        return model_facts(**facts)


def _outtype(params: ConvertParams, checkpoint: Path) -> str:
    if params.outtype != "source":
        return params.outtype.upper()
    from qpipe.gguf.checkpoint import read_tensors

    matrices = [t for t in read_tensors(checkpoint).values() if len(t.shape) > 1]
    largest = max(matrices, key=lambda tensor: tensor.nbytes)
    return str(largest.dtype)


def _pass_through(files: list[Path], work: base.Work) -> Mapping[str, Json]:
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
    link(files[0], work.out / GGUF_FILE)
    return facts
