"""Tokens a second, time to the first token and memory, beside the reference's in the same run."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from qpipe.core.graph import Resources
from qpipe.core.key import Json
from qpipe.evaluators.common.backends import LlamaCpp, Transformers, on_device, require_memory
from qpipe.evaluators.common.computing import checkpoint_memory
from qpipe.evaluators.common.llama_programs import ProgramParams, require_device
from qpipe.evaluators.common.parameters import KvParams, NoKvParams
from qpipe.machine import capacity, gpus, tools
from qpipe.machine.identity import identity
from qpipe.machine.load import LoadMeter, MachineLoad
from qpipe.results.arithmetic import Arithmetic
from qpipe.results.measurement import Measurement
from qpipe.results.scores import Score, score
from qpipe.stages.base import Order, Work
from qpipe.stages.device import CUDA
from qpipe.stages.evaluator import Evaluator, only_file, write_result

if TYPE_CHECKING:
    from qpipe.evaluators.speed_rounds.rounds import SpeedTarget
    from qpipe.evaluators.speed_rounds.settings import Memory, Sample, SpeedSettings

IN_PROCESS, BENCH = "in-process", "llama-bench"


class CommonSpeedParams(KvParams):
    """Settings of each round."""

    metric: Literal["speed"] = "speed"
    n_prompt: int = Field(512, ge=1, description="Tokens read.")
    n_gen: int = Field(128, ge=1, description="Tokens written, from an empty context.")
    batch_size: int = Field(1, ge=1, le=256, description="Sequences at once.")
    threads: int | None = Field(
        None, ge=1, description="Threads. null: as many cores as may be used."
    )
    warmup: int = Field(1, ge=0, description="Rounds that do not count.")
    repeats: int = Field(5, ge=1, description="Rounds that the median is taken of.")
    tool: Literal["auto", "in-process", "llama-bench"] = Field(
        "auto",
        description=(
            "What measures GGUF files. auto: llama-bench if it is on PATH and batch_size is 1, "
            "else in-process."
        ),
    )

    @model_validator(mode="after")
    def _within_llama_bench(self) -> Any:
        if self.tool == BENCH and self.batch_size > 1:
            raise ValueError(
                f"batch_size={self.batch_size} with tool=llama-bench: it writes one sequence at a "
                "time; set tool to auto or in-process"
            )
        return self

    @property
    def all_threads(self) -> int:
        """The number of threads that will be used."""
        return self.threads or capacity.usable_cores()

    @property
    def settings(self) -> SpeedSettings:
        """Settings of each round."""
        from qpipe.evaluators.speed_rounds.settings import SpeedSettings

        names = ("n_prompt", "n_gen", "batch_size", "dtype", "kernel")
        chosen: dict[str, Any] = {name: getattr(self, name) for name in names}
        return SpeedSettings(**chosen, threads=self.all_threads, **self.kv, device=self.computes_on)

    def label(self, tool: str) -> str:
        """A label that two figures must share to be compared; what is usual goes without saying."""
        parts = [tool, f"pp{self.n_prompt} tg{self.n_gen}", f"threads={self.all_threads}"]
        parts += [f"batch={self.batch_size}"] if self.batch_size > 1 else []
        parts += [CUDA] if self.computes_on == CUDA else []
        parts += self.kv_words
        return " ".join(parts)


_NOT_A_BENCH = {
    "llama-server": (
        "llama-server's speed hangs on what asks it too: evaluate.tool=llama-bench measures that "
        "build, evaluate.backend=llama.cpp the one that qpipe brings"
    )
}


class SpeedEvaluator(Evaluator):
    """Base of the backends. A result holds on the machine that made it, and is kept for it.

    The machine is therefore part of the fingerprint, and so are the threads; everything else that
    runs beside it would be measured too, so that it books all cores.
    """

    version = 2
    optional_roles: ClassVar[tuple[str, ...]] = ("reference",)
    lacking = _NOT_A_BENCH

    @classmethod
    def resources(cls, params: Any, *, cores: int) -> Resources:
        """All cores; both models in memory at once."""
        return Resources(cpus=cores, memory=1 << 30, memory_per_input_byte=1.2)

    @abc.abstractmethod
    def subject(self, params: Any, folder: Path) -> SpeedTarget:
        """The model in an artifact's folder, ready to be measured."""

    @abc.abstractmethod
    def tool(self, params: Any) -> str:
        """Name of the tool that measures."""

    def run(self, params: Any, work: Work) -> Measurement:
        """Raises CheckpointError (a model), EngineMissingError (llama-bench), StageError."""
        from qpipe.evaluators.speed_rounds.rounds import take_turns

        roles = [role for role in ("model", "reference") if role in work.inputs]
        meter = LoadMeter()
        with ExitStack() as stack:
            subjects = []
            for role in roles:
                subjects.append(self.subject(params, work.inputs[role]))
                stack.callback(subjects[-1].close)
            samples = take_turns(
                subjects,
                warmup=params.warmup,
                repeats=params.repeats,
                progress=lambda done, total: work.progress(done, total, "rounds"),
            )
            memory = [subject.finish() for subject in subjects]
        load = meter.read()
        about: dict[str, Json] = {
            "protocol": params.label(self.tool(params)),
            "backend": subjects[0].version,
            "load": asdict(load),
        }
        _write(work.out, roles, samples, memory, about)
        scores = [*_of_rounds(samples), *_of_memory(memory), *_of_machine(load)]
        own = subjects[0].arithmetic
        return Measurement(
            str(about["protocol"]),
            tuple(scores),
            by=subjects[0].version,
            arithmetic=None if own is None else Arithmetic(**own),
        )


def _of_rounds(samples: list[list[Sample]]) -> list[Score]:
    """The medians of the model's rounds, and beside them those of the same rounds' reference."""
    from qpipe.evaluators.speed_rounds.rounds import FIELDS, figure, ratio

    own, *others = samples
    scores = []
    for name in FIELDS:
        rounds = figure(own, name)
        beside = [(ratio(own, other, name), figure(other, name).median) for other in others]
        times, base = beside[0] if beside else (None, None)
        scores.append(score(name, rounds.median, iqr=rounds.iqr, ratio=times, base=base))
    return scores


def _of_machine(load: MachineLoad) -> list[Score]:
    """The load of the machine; nothing where the system does not tell."""
    others = None if load.others is None else 100 * load.others
    every = {"load_start": load.start, "load_end": load.end, "others_cpu_pct": others}
    return [score(name, value) for name, value in every.items() if value is not None]


def _of_memory(memory: list[Memory]) -> list[Score]:
    scores = []
    for name in ("rss", "vram"):
        own, *others = (getattr(one, name) for one in memory)
        if own:
            ratio = own / others[0] if others and others[0] else None
            scores.append(score(f"peak_{name}", own, ratio=ratio))
    return scores


def _write(
    folder: Path,
    roles: list[str],
    samples: list[list[Sample]],
    memory: list[Memory],
    about: Mapping[str, Json],
) -> None:
    rounds: dict[str, Json] = {
        role: [asdict(sample) for sample in some] for role, some in zip(roles, samples, strict=True)
    }
    taken: dict[str, Json] = {role: asdict(one) for role, one in zip(roles, memory, strict=True)}
    write_result(folder, {**about, "rounds": rounds, "memory": taken})


class SpeedParams(CommonSpeedParams, ProgramParams):
    """For GGUF files."""

    backend: Literal["llama.cpp"] = Field(
        "llama.cpp",
        description=(
            "What computes. auto: llama.cpp for a GGUF file, transformers for a checkpoint."
        ),
    )

    @model_validator(mode="after")
    def _on_a_gpu_by_llama_bench(self) -> Any:
        if self.device == CUDA and self.tool != BENCH:
            raise ValueError(
                "device=cuda: the llama.cpp that comes with qpipe is built for the CPU alone; set "
                "evaluate.tool=llama-bench, for a build of your own on PATH"
            )
        return self

    @property
    def takes_a_gpu(self) -> bool:
        """True for a build of the user's own that was asked for."""
        return self.tool == BENCH


class Speed(SpeedEvaluator):
    """GGUF files, by llama-bench where it is on PATH, else through llama.cpp's C API.

    llama-bench measures one sequence at a time, on a GPU if ``tool`` names it.
    """

    Params = SpeedParams
    accepts: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "model": LlamaCpp.containers,
        "reference": LlamaCpp.containers,
    }

    @classmethod
    def fingerprint(cls, params: SpeedParams) -> Mapping[str, Json]:
        """The tool, down to its build, and the machine."""
        bench = _bench(params)
        tool: Mapping[str, Json] = LlamaCpp.fingerprint()
        if bench is not None:
            stat = bench.stat()
            tool = {"name": BENCH, "bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}
        return {**tool, **_place(params)}

    @classmethod
    def resources(cls, params: Any, *, cores: int) -> Resources:
        """All cores, and a GPU if that is the device."""
        return on_device(super().resources(params, cores=cores), params)

    @classmethod
    def refuse(cls, params: SpeedParams, order: Order) -> None:
        """Raises RecipeError for a device that llama-bench was not built for."""
        require_device(BENCH, params)

    @classmethod
    def check(cls) -> str | None:
        """Return the problem, or None if the wheel is there."""
        return LlamaCpp.check()

    def tool(self, params: SpeedParams) -> str:
        """llama-bench or llama.cpp."""
        return BENCH if params.tool == BENCH or _bench(params) else "llama.cpp"

    def subject(self, params: SpeedParams, folder: Path) -> SpeedTarget:
        """The one GGUF file in the folder."""
        from qpipe.evaluators.speed_rounds.rounds import LlamaBench, Probe

        path = only_file(folder, suffix=".gguf")
        require_memory(path.stat().st_size, name=path.name)
        if self.tool(params) == BENCH:
            return LlamaBench(path, params.settings, options=params.offload)
        return Probe(path, params.settings, backend="llama.cpp")


def _place(params: CommonSpeedParams) -> dict[str, Json]:
    """The machine and what is used of it: speeds hold there alone."""
    cards: dict[str, Json] = {"gpus": gpus.names()} if params.gpus else {}
    return {"machine": identity(), "threads": params.all_threads, **cards}


def _bench(params: SpeedParams) -> Path | None:
    """The llama-bench that will be used, if one will."""
    if params.tool == IN_PROCESS or params.batch_size > 1:
        return None
    return tools.locate(BENCH)


class CheckpointSpeedParams(CommonSpeedParams, NoKvParams):
    """For checkpoint folders."""

    backend: Literal["transformers"] = Field(
        "transformers",
        description=(
            "What computes. auto: llama.cpp for a GGUF file, transformers for a checkpoint."
        ),
    )
    tool: Literal["auto", "in-process"] = "auto"


class CheckpointSpeed(SpeedEvaluator):
    """Checkpoint folders, by transformers."""

    Params = CheckpointSpeedParams
    accepts: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "model": Transformers.containers,
        "reference": Transformers.containers,
    }

    @classmethod
    def fingerprint(cls, params: CheckpointSpeedParams) -> Mapping[str, Json]:
        """transformers' and torch's versions, and the machine."""
        known = Transformers.fingerprint()
        return {**known, **_place(params)}

    @classmethod
    def resources(cls, params: Any, *, cores: int) -> Resources:
        """All cores, and a GPU if that is the device; two processes with torch."""
        known = Transformers.resources(cores=cores)
        return Resources(
            cpus=cores,
            memory=2 * known.memory,
            gpus=params.gpus,
            memory_per_input_byte=known.memory_per_input_byte,
        )

    @classmethod
    def check(cls) -> str | None:
        """transformers and torch."""
        return Transformers.check()

    @classmethod
    def refuse(cls, params: CheckpointSpeedParams, order: Order) -> None:
        """Raises RecipeError for what transformers cannot compute as asked."""
        Transformers.refuse(params, order)

    def tool(self, params: CheckpointSpeedParams) -> str:
        """transformers."""
        return "transformers"

    def subject(self, params: CheckpointSpeedParams, folder: Path) -> SpeedTarget:
        """The checkpoint in the folder, or its one GGUF file."""
        from qpipe.evaluators.speed_rounds.rounds import Probe

        require_memory(checkpoint_memory(folder), name="the checkpoint")
        return Probe(folder, params.settings, backend="transformers")
