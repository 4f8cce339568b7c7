"""GGUF quantization by llama-quantize from PATH, with the same recipe and the same tensors."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from qpipe.core.graph import Resources
from qpipe.core.key import Json
from qpipe.engines.common import ahead, gguf_engine, gguf_facts
from qpipe.engines.common.gguf_engine import GGUF_FILE
from qpipe.engines.common.gguf_facts import file_facts
from qpipe.errors import DataError, EngineMissingError, OutOfSpaceError, RecipeError
from qpipe.machine import filesystem, program, tools
from qpipe.results.model import ModelFacts
from qpipe.stages import base
from qpipe.stages.engine import Engine
from qpipe.stages.evaluator import only_file

if TYPE_CHECKING:
    from qpipe.gguf.file_plan import FilePlan

PROGRAM = "llama-quantize"
# What llama.cpp 0.5.0 holds of a text of metadata (common/common.cpp,
# string_parse_kv_override).
_LONGEST_TEXT = 127


class LlamaQuantizeParams(gguf_engine.GgufParams):
    """The parameters that all GGUF engines share."""

    engine: Literal["llama.cpp"] = "llama.cpp"
    scales: Literal["auto", "ggml", "lattice"] = Field("auto", exclude=True)

    @field_validator("scales")
    @classmethod
    def _keeps_no_lattice(cls, scales: str) -> str:
        if scales == "lattice":
            raise ValueError(f"{PROGRAM} keeps none: set engine to native, or scales to auto")
        return scales

    @field_validator("target")
    @classmethod
    def _chooses_no_types(cls, target: object) -> object:
        if target is not None:
            raise ValueError(
                "a mix is chosen by engine native alone; its types are rules for any engine then "
                "(`qpipe inspect FILE.gguf --rules`)"
            )
        return target

    @model_validator(mode="after")
    def _rules_are_heard(self) -> LlamaQuantizeParams:
        # llama.cpp 0.5.0: llama_tensor_get_type asks for them only where the name's default is
        # a quantized type.
        if (self.tensor_types or self.like) and not self.type_request().ftype.quantized:
            raise ValueError(
                f"tensor_types: {PROGRAM} does not hear of them for type {self.type}; set engine "
                "to native, or a quantized type"
            )
        return self


class LlamaQuantize(Engine):
    """llama-quantize, given a GGUF file in F32, F16 or BF16.

    Types are qpipe's own choice, tensor by tensor, where the recipe has rules; whatever types
    llama-quantize chose are compared with qpipe's when it is done.
    """

    version = 2
    optional_roles = ("imatrix",)
    unread: ClassVar[Mapping[str, tuple[str, ...]]] = {"model": base.TERMS}
    accepts: Mapping[str, tuple[str, ...]] = {"model": (base.GGUF,)}  # type: ignore[misc]
    foresees = True
    Params = LlamaQuantizeParams

    @classmethod
    def fingerprint(cls, params: LlamaQuantizeParams) -> Mapping[str, Json]:
        """The version that the program on PATH prints."""
        return {"name": "llama.cpp", PROGRAM: version()}

    @classmethod
    def resources(cls, params: LlamaQuantizeParams, *, cores: int) -> Resources:
        """It holds one tensor in several forms at a time; embeddings are the largest."""
        return Resources(cpus=cores, memory=1 << 30)

    @classmethod
    def check(cls) -> str | None:
        """Return the problem, or None if the program is on PATH and runs."""
        why = tools.find(PROGRAM).problem
        return why and f"{why}; quantize.engine=native writes the same tensors without it"

    @classmethod
    def preview(cls, params: LlamaQuantizeParams, order: base.Order) -> base.Preview | None:
        """Known from headers alone, about so from config.json. Raises as ``run``, but for what only
        the weights tell."""
        if order.coming:
            return ahead.of_gguf(params, order)
        return gguf_engine.preview(_prepared(params, order), fallback=params.fallback)

    def run(self, params: LlamaQuantizeParams, work: base.Work) -> ModelFacts:
        """Raises EngineMissingError where the program is not there or of other rules than qpipe's,
        RecipeError, CheckpointError, DataError as the native engine, OutOfSpaceError."""
        if why := self.check():
            raise EngineMissingError(why)
        source, out = only_file(work.inputs["model"], suffix=".gguf"), work.out / GGUF_FILE
        if not params.type_request().changes(str(file_facts(source).format)):
            work.link(source, out)
            return file_facts(source).adding(notes=_opened(out))
        prepared = _prepared(params, work)
        _check_room(prepared, out)
        provenance = gguf_engine.provenance(params, work, self.fingerprint(params))
        with TemporaryDirectory(prefix="qpipe-") as folder:
            options = [*_options(params, prepared, Path(folder)), *_notes(provenance or {})]
            _quantize([*options, source, out, params.type, work.threads], work, prepared)
        _compare(prepared, out)
        facts = gguf_facts.with_tensors(gguf_facts.planned_facts(prepared), prepared, {})
        facts = replace(facts, size_bytes=out.stat().st_size)
        return facts.adding(notes=[*prepared.notes, *_opened(out)])


def _opened(out: Path) -> list[str]:
    notes: list[str] = []
    gguf_engine.try_to_load(notes, out)
    return notes


def version() -> str:
    """The version that the program on PATH prints; ``missing`` or ``unknown`` if it prints none."""
    return tools.find(PROGRAM).version


def _prepared(params: LlamaQuantizeParams, order: base.Order) -> FilePlan:
    """Plan of the file that qpipe itself would write, which the program's is compared to."""
    from qpipe.gguf.quantize import prepare

    source = only_file(order.inputs["model"], suffix=".gguf")
    prepared = prepare(
        source, params.type_request(), imatrix=gguf_engine.imatrix(order), scales="ggml"
    )
    gguf_engine.require_own_types(params, prepared.shortfall)
    return prepared


def _options(
    params: LlamaQuantizeParams, prepared: FilePlan, folder: Path
) -> Iterator[str | Path | int]:
    if params.pure:
        yield "--pure"
    for option in ("output_tensor_type", "token_embedding_type"):
        if kind := getattr(params, option):
            yield from (f"--{option.replace('_', '-')}", kind)
    from qpipe.gguf.quantize import is_published_so

    if params.tensor_types or params.like or any(map(is_published_so, prepared.outputs)):
        # In llama.cpp 0.5.0 the first match counts, and expressions are C++'s: so each tensor
        # by its name.
        types = folder / "types.txt"
        types.write_text("".join(_named(params, prepared)), encoding="utf-8")
        yield from ("--tensor-type-file", types)


def _named(params: LlamaQuantizeParams, prepared: FilePlan) -> Iterator[str]:
    from qpipe.gguf.quantize import is_published_so

    request = params.type_request()
    for output in prepared.outputs:
        if request.names(output.name) or is_published_so(output):
            yield f"^{re.escape(output.name)}$={output.type.name}\n"


def _notes(provenance: Mapping[str, str]) -> Iterator[str]:
    for name, value in provenance.items():
        if len(value.encode()) > _LONGEST_TEXT:
            raise RecipeError(
                f"quantize.provenance: {PROGRAM} can note at most {_LONGEST_TEXT} bytes, and "
                f"qpipe.{name} is {value!r}; set quantize.provenance=false, or use "
                "quantize.engine=native"
            )
        yield from ("--override-kv", f"qpipe.{name}=str:{value}")


def _quantize(arguments: list[str | Path | int], work: base.Work, prepared: FilePlan) -> None:
    matrix = gguf_engine.imatrix(work)
    weights: list[str | Path] = [] if matrix is None else ["--imatrix", matrix.name]
    program.run(
        [PROGRAM, *weights, *arguments],
        name=f"{PROGRAM} {version()}",
        # llama.cpp 0.5.0 notes the matrix's path as it was given: a name says the same on
        # every machine.
        cwd=None if matrix is None else matrix.parent,
        on_line=_progress(work, len(prepared.outputs)),
    )


def _progress(work: base.Work, total: int) -> Callable[[str], None]:
    def on_line(line: str) -> None:
        if match := re.match(r"\[\s*(\d+)/\s*\d+\]", line):
            work.progress(int(match[1]), total, "tensors")

    return on_line


def _check_room(prepared: FilePlan, out: Path) -> None:
    """Before it starts, since it says of a full disk only that a stream failed."""
    # llama-quantize (llama.cpp 0.5.0) says only that a stream failed.
    needed, free = prepared.facts["file_bytes"], filesystem.free_bytes(out.parent)
    if needed > free:
        raise OutOfSpaceError(
            f"{out}: needs {needed:,} bytes, and the disk has {free:,} left; free some space, or "
            "take old artifacts away with `qpipe gc --max-size SIZE`, then run again"
        )


def _compare(prepared: FilePlan, out: Path) -> None:
    """Raise unless the file has the types that qpipe would have chosen."""
    from qpipe.gguf import reader

    types = {name: tensor.type for name, tensor in reader.read(out).tensors.items()}
    if types.keys() != prepared.types.keys():
        raise DataError(f"{PROGRAM} {version()} wrote other tensors than its input has")
    for name, kind in prepared.types.items():
        if types[name] != kind:
            raise EngineMissingError(
                f"{PROGRAM} {version()} made tensor {name} {types[name].name}, and the llama.cpp "
                f"whose rules qpipe follows makes it {kind.name}: put another version on PATH, or "
                "use quantize.engine=native"
            )
