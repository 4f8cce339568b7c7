"""Scores in tasks of lm-evaluation-harness, by name or from a folder of the user's own."""

from __future__ import annotations

import abc
import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from qpipe.core.graph import Resources
from qpipe.core.key import Json
from qpipe.errors import DataError, EngineMissingError, RecipeError
from qpipe.evaluators.common.backends import (
    LlamaCpp,
    Transformers,
    on_device,
    require_memory,
)
from qpipe.evaluators.common.computing import checkpoint_memory
from qpipe.evaluators.common.parameters import KvParams, NoKvParams
from qpipe.hf.chat import Day, require_template
from qpipe.results.arithmetic import Arithmetic
from qpipe.results.measurement import Measurement, Subject
from qpipe.stages.base import Order, SourceFile, Work, installed
from qpipe.stages.evaluator import Evaluator, only_file, write_result
from qpipe.support import extras

_HARNESS = "lm-eval"


def _listed(value: object) -> object:
    """One name is a list of one."""
    return [value] if isinstance(value, str) else value


def _names(tasks: list[str]) -> list[str]:
    if len(set(tasks)) < len(tasks):
        raise ValueError(f"{', '.join(tasks)} names one twice")
    for name in tasks:
        if "/" in name or name.endswith((".yaml", ".yml")):
            raise ValueError(
                f"{name!r} is a path: name the task that the file defines, and the file's folder "
                "in evaluate.include_path"
            )
    return tasks


def _overlap(tasks: list[str], own: Path | None = None) -> str | None:
    """Why the tasks cannot be asked together, those of the folder ``own`` known; lm-eval (0.4.13)
    says so once all else is done."""
    from qpipe.evaluators.harness.task_index import shipped

    index = shipped() if own is None else shipped().with_own(own)
    if (overlap := index.overlap(tasks)) is None:
        return None
    one, other, task = overlap
    return (
        f"tasks: {one} and {other} both hold {task}, and lm-eval scores no task twice in one "
        "evaluation; leave one of them out (a group's result has its members' scores), or sweep "
        "over them"
    )


class CommonTasksParams(KvParams):
    """Settings of lm-eval, under its own names for them."""

    metric: Literal["tasks"] = "tasks"
    tasks: Annotated[
        list[str], BeforeValidator(_listed), Field(min_length=1), AfterValidator(_names)
    ] = Field(
        description=(
            "A name or a list: tasks, groups and tags of lm-eval's (mmlu, gsm8k, …), or of "
            "include_path."
        )
    )
    include_path: SourceFile | None = Field(
        None, description="A folder of your own tasks: *.yaml and their data. null: none."
    )
    trust_task_code: str | None = Field(
        None,
        pattern="^[0-9a-f]{64}$",
        description=(
            "The digest of that folder, if the code in it may run; the refusal prints it. null: "
            "none may."
        ),
    )
    num_fewshot: int | None = Field(
        None, ge=0, description="Examples before each question. null: as the task says."
    )
    limit: float | None = Field(
        None, gt=0, description="Items of a task; below 1 a share of them. null: all."
    )
    chat_template: bool = Field(False, description="true: ask in the model's own chat template.")
    date: Day | None = Field(
        None,
        description=(
            "The day that a chat template is told, as 2024-07-26, which is also what null stands "
            "for."
        ),
    )
    system_instruction: str | None = Field(
        None, description="What stands before each question as the system's words. null: nothing."
    )
    gen_kwargs: dict[str, Any] | None = Field(
        None,
        description=(
            "Settings of generated texts, such as {max_gen_toks: 512}; texts are greedy. null: as"
            " the task says."
        ),
    )

    @model_validator(mode="after")
    def _sound(self) -> Any:
        if self.trust_task_code and self.include_path is None:
            raise ValueError("trust_task_code: there is no include_path whose code it would trust")
        require_template(self.date, self.chat_template, block="evaluate")
        alone = len(self.tasks) > 1 and self.include_path is None
        if alone and (problem := _overlap(self.tasks)):
            raise ValueError(problem)
        return self

    @field_validator("limit")
    @classmethod
    def _whole(cls, limit: float | None) -> float | None:
        if limit is not None and limit > 1 and limit != int(limit):
            raise ValueError(
                f"{limit:g} items are none: give a whole number, or a share of them below 1"
            )
        return limit

    @field_validator("gen_kwargs")
    @classmethod
    def _greedy(cls, gen_kwargs: dict[str, Any] | None) -> dict[str, Any] | None:
        from qpipe.evaluators.harness.settings import require_greedy

        try:
            require_greedy(gen_kwargs or {})
        except DataError as error:
            raise ValueError(str(error)) from None
        return gen_kwargs

    @property
    def label(self) -> str:
        """A label that two scores must share to be compared."""
        parts = [f"{_HARNESS} {installed(_HARNESS)}"]
        if self.num_fewshot is not None:
            parts.append(f"{self.num_fewshot}-shot")
        if self.limit is not None:
            parts.append(f"limit={self.limit:g}")
        if self.chat_template:
            parts.append("chat template" + (f" on {self.date}" if self.date else ""))
        if self.system_instruction:
            parts.append(f"system={self.system_instruction!r}")
        if self.gen_kwargs:
            parts += [f"{name}={value}" for name, value in sorted(self.gen_kwargs.items())]
        return " ".join(parts + self.kv_words)


class OpenedModel(NamedTuple):
    """lm-eval's ``LM`` of a model, the name of what computes, and in what it does."""

    lm: Any
    name: str
    arithmetic: Mapping[str, str] | None


class TasksEvaluator(Evaluator):
    """Base of both backends: a subclass opens the model."""

    version = 2

    @classmethod
    def fingerprint(cls, params: Any) -> Mapping[str, Json]:
        """Versions of what computes, and of what asks and counts."""
        return {**cls.backend_fingerprint(), "lm_eval": installed(_HARNESS)}

    @classmethod
    @abc.abstractmethod
    def backend_fingerprint(cls) -> Mapping[str, Json]:
        """Name and versions of what computes."""

    @classmethod
    def check(cls) -> str | None:
        """Return the problem, or None if lm-eval is installed."""
        if find_spec("lm_eval") is None:
            return f"tasks need lm-evaluation-harness: {extras.command('eval')}"
        return None

    @classmethod
    def refuse(cls, params: Any, order: Order) -> None:
        """Raises RecipeError for tasks of the user's own folder that lm-eval takes not together."""
        folder = order.inputs.get("include_path")
        if folder is not None and (problem := _overlap(params.tasks, folder)):
            raise RecipeError(f"evaluate.{problem}")

    @abc.abstractmethod
    def open(self, params: Any, work: Work, stack: ExitStack) -> OpenedModel:
        """lm-eval's ``LM`` of the model, and what computes. Raises CheckpointError."""

    def run(self, params: Any, work: Work) -> Measurement:
        """Raises CheckpointError (the model), SourceError (a data set), DataError (a task)."""
        if problem := self.check():
            raise EngineMissingError(problem)
        from qpipe.evaluators.harness.evaluation import EvaluationOptions, run
        from qpipe.evaluators.harness.loader import load
        from qpipe.evaluators.harness.results import scores, write_items
        from qpipe.evaluators.harness.settings import notes

        loaded = load(
            params.tasks,
            include_path=work.inputs.get("include_path"),
            trusted=params.trust_task_code,
            num_fewshot=params.num_fewshot,
            gen_kwargs=params.gen_kwargs,
        )
        task_notes = notes(
            loaded.tasks["tasks"], num_fewshot=params.num_fewshot, gen_kwargs=params.gen_kwargs
        )
        options = EvaluationOptions(params.limit, params.chat_template, params.system_instruction)
        assert work.partial is not None
        with ExitStack() as stack:
            lm, backend, arithmetic = self.open(params, work, stack)
            if note := getattr(lm, "note", None):
                task_notes.append(note)
            journal = work.partial / "answers.jsonl"
            results = run(lm, loaded, options, journal=journal, progress=work.progress)
        reported = scores(results, loaded.tasks, loaded.reported)
        items = write_items(work.out, results)
        names = [name for name in results["results"] if _scored(results, name)]
        everything = scores(results, loaded.tasks, names)
        write_result(
            work.out,
            {
                "protocol": params.label,
                "backend": backend,
                "scores": {score.field: asdict(score) for score in reported},
                "all_scores": {score.field: asdict(score) for score in everything},
                "versions": {name: str(v) for name, v in results["versions"].items()},
                "num_fewshot": dict(results["n-shot"]),
                "items": items,
            },
        )
        return Measurement(
            params.label,
            tuple(score.score for score in reported),
            on=Subject(items=items),
            by=backend,
            notes=tuple(task_notes),
            arithmetic=None if arithmetic is None else Arithmetic(**arithmetic),
        )


def _scored(results: Mapping[str, Any], name: str) -> bool:
    return any("," in key for key in results["results"][name])


class TasksParams(CommonTasksParams):
    """For GGUF files."""

    backend: Literal["llama.cpp"] = Field(
        "llama.cpp",
        description=(
            "What computes: llama.cpp for a GGUF file, transformers for a checkpoint, or for a "
            "GGUF file dequantized. auto: by the container."
        ),
    )


class Tasks(TasksEvaluator):
    """GGUF files, by llama.cpp in the worker's own process."""

    Params = TasksParams
    accepts: ClassVar[Mapping[str, tuple[str, ...]]] = {"model": LlamaCpp.containers}

    @classmethod
    def backend_fingerprint(cls) -> Mapping[str, Json]:
        """llama.cpp's."""
        return LlamaCpp.fingerprint()

    @classmethod
    def resources(cls, params: Any, *, cores: int) -> Resources:
        """Resources as for llama.cpp's other evaluators."""
        return LlamaCpp.resources(cores=cores)

    @classmethod
    def check(cls) -> str | None:
        """lm-eval and the wheel that brings llama.cpp."""
        return super().check() or LlamaCpp.check()

    def open(self, params: TasksParams, work: Work, stack: ExitStack) -> OpenedModel:
        """The one GGUF file in the model's folder."""
        from qpipe.evaluators.harness.gguf import GgufLM
        from qpipe.llamacpp.backend import LlamaCppBackend

        path = only_file(work.inputs["model"], suffix=".gguf")
        require_memory(path.stat().st_size, name=path.name)
        lm = stack.enter_context(GgufLM(path, threads=work.threads, date=params.date, **params.kv))
        return OpenedModel(lm, f"{LlamaCppBackend.name} {LlamaCppBackend.version}", None)


class CheckpointTasksParams(CommonTasksParams, NoKvParams):
    """For checkpoint folders, and GGUF files that are to be dequantized."""

    backend: Literal["transformers"] = Field(
        "transformers",
        description=(
            "What computes: llama.cpp for a GGUF file, transformers for a checkpoint, or for a "
            "GGUF file dequantized. auto: by the container."
        ),
    )


class CheckpointTasks(TasksEvaluator):
    """Checkpoint folders and GGUF files, by lm-eval's own HFLM on transformers."""

    Params = CheckpointTasksParams
    imports = Transformers.imports
    accepts: ClassVar[Mapping[str, tuple[str, ...]]] = {"model": Transformers.containers}

    @classmethod
    def backend_fingerprint(cls) -> Mapping[str, Json]:
        """transformers' and torch's."""
        return Transformers.fingerprint()

    @classmethod
    def resources(cls, params: Any, *, cores: int) -> Resources:
        """Resources as for transformers' other evaluators."""
        return on_device(Transformers.resources(cores=cores), params)

    @classmethod
    def check(cls) -> str | None:
        """lm-eval, transformers and torch."""
        return super().check() or Transformers.check()

    @classmethod
    def refuse(cls, params: Any, order: Order) -> None:
        """Raises RecipeError too for what transformers cannot compute as asked."""
        super().refuse(params, order)
        Transformers.refuse(params, order)

    def open(self, params: CheckpointTasksParams, work: Work, stack: ExitStack) -> OpenedModel:
        """The checkpoint in the model's folder, or its one GGUF file."""
        # As qpipe.hf.backend: OpenMP's threads (torch 2.13) spin by default.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        from qpipe.evaluators.harness.checkpoints import open_checkpoint

        require_memory(checkpoint_memory(work.inputs["model"]), name="the checkpoint")
        folder = work.inputs["model"]
        options = {"device": params.computes_on, "dtype": params.dtype, "kernel": params.kernel}
        lm, loaded = open_checkpoint(
            folder, threads=work.threads, date=params.date, stack=stack, options=options
        )
        what = f"torch {installed('torch')}, {loaded.dtype}, {loaded.device}"
        name = f"transformers {installed('transformers')} ({what})"
        return OpenedModel(lm, name, loaded.arithmetic)
