"""Validated recipes → drafts: their jobs, with the stages that each needs in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from qpipe.core.graph import order
from qpipe.errors import GraphError, RecipeError, UsageError
from qpipe.machine import capacity, gpus
from qpipe.recipe import messages
from qpipe.recipe.draft import (
    ChainRoles,
    ExecutorDraft,
    InvalidJobDraft,
    JobDraft,
    LevelDraft,
    PackedJobDraft,
    RunDraft,
    StageDraft,
    describe,
)
from qpipe.recipe.guide import require_guidable
from qpipe.recipe.overrides import distinct, idle_notes, label
from qpipe.recipe.reference_source import format_of, source_of, with_reference
from qpipe.recipe.request import InvalidJob, Job
from qpipe.recipe.schema import Recipe, StageSpec
from qpipe.recipe.stage_drafts import (
    ChosenStage,
    StageBounds,
    hidden,
    inputs_of,
    plain,
    stage_drafts,
)
from qpipe.recipe.text_notes import idle_choices, toy_notes
from qpipe.recipe.validation import validate
from qpipe.stages.base import CHECKPOINT
from qpipe.stages.registry import all_stages, chosen
from qpipe.support.addresses import without_secrets


class _ValidJob(NamedTuple):
    """A valid job of a sweep."""

    job: Job
    recipe: Recipe
    draft: JobDraft

    @property
    def stages(self) -> list[str]:
        return [stage["name"] for stage in self.draft["stages"]]


class _Usable(NamedTuple):
    """The share of this machine that qpipe may use: cores, and GPUs that CUDA shows."""

    cores: int
    gpus: int


def draft(jobs: Sequence[Job | InvalidJob]) -> RunDraft:
    """The draft of a whole command.

    Raises RecipeError or GraphError, naming the field, for a single job that is wrong and where all
    jobs of a sweep are; else the wrong ones are in ``invalid``.
    """
    usable = _Usable(capacity.usable_cores(), len(gpus.visible()))
    tried = [_tried(job, usable) for job in jobs]
    valid = [one for one in tried if isinstance(one, _ValidJob)]
    names = distinct([job.overrides for job in jobs])
    invalid = [
        InvalidJobDraft(index=index, name=names[index], error=str(one))
        for index, one in enumerate(tried)
        if not isinstance(one, _ValidJob)
    ]
    if not valid:
        first_error = next(one for one in tried if isinstance(one, UsageError))
        raise (
            first_error
            if len(jobs) == 1
            else RecipeError(messages.invalid_jobs(invalid, len(jobs)))
        )
    first = valid[0].recipe
    _refuse_two_executors(valid)
    composed = [job for job in jobs if isinstance(job, Job)]
    guide = next((job.guide for job in composed if job.guide is not None), None)
    if guide is not None:
        require_guidable([one.draft for one in valid], asked=len(jobs))
    objective = first.run.objective
    return RunDraft(
        jobs=[one.draft for one in valid],
        notes=[
            *idle_notes(composed, [one.stages for one in valid]),
            *idle_choices(composed),
            *toy_notes([(one.job, one.draft) for one in valid]),
        ],
        invalid=invalid,
        skip_invalid=any(one.recipe.run.skip_invalid for one in valid),
        executor=_executor(first),
        keep_going=_keep_going([one.recipe for one in valid]),
        results_only=all(one.recipe.run.keep == "results" for one in valid),
        objective=[objective] if isinstance(objective, str) else list(objective),
        guide=guide,
    )


def _keep_going(recipes: Sequence[Recipe]) -> bool | None:
    """The value that recipes of one sweep have in common; True wins, None is no value."""
    values = {recipe.run.keep_going for recipe in recipes} - {None}
    return True in values if values else None


def _tried(job: Job | InvalidJob, usable: _Usable) -> _ValidJob | UsageError:
    if isinstance(job, InvalidJob):
        return job.error
    try:
        recipe = validate(job)
        return _ValidJob(job, recipe, _job(job, recipe, usable))
    except (RecipeError, GraphError) as error:
        return error


def _refuse_two_executors(jobs: Sequence[_ValidJob]) -> None:
    first = jobs[0].recipe.executor
    for job in jobs:
        if job.recipe.executor != first:
            raise RecipeError(
                f"executor: job {label(job.draft['varying'])!r} of the sweep asks for another "
                "executor; one sweep is one graph and runs on one"
            )


def _executor(recipe: Recipe) -> ExecutorDraft:
    spec = recipe.executor
    return ExecutorDraft(
        name=spec.name,
        cpus=spec.cpus,
        memory=spec.memory,
        share=spec.share,
        enforce_memory=spec.enforce_memory,
    )


def _job(job: Job, recipe: Recipe, usable: _Usable) -> JobDraft:
    """The draft of a job, on a machine of which ``usable`` may be used."""
    cores = recipe.executor.cpus or usable.cores
    bounds = StageBounds(cores, usable.gpus, recipe.run.timeout)
    changed = _of_packed(job, recipe, bounds)
    if changed is None:
        return _as_written(job, recipe, bounds)
    # Settings may fit one of the two alone: which of them it is, the model's files tell.
    source, other = changed
    plain, packed = (_or_error(job, each, bounds) for each in (recipe, other))
    if isinstance(plain, UsageError):
        if isinstance(packed, UsageError):
            raise plain
        return {**packed, "packed": PackedJobDraft(source=source, job=packed, otherwise=str(plain))}
    of_packed = str(packed) if isinstance(packed, UsageError) else packed
    return {**plain, "packed": PackedJobDraft(source=source, job=of_packed, otherwise=None)}


def _of_packed(job: Job, recipe: Recipe, bounds: StageBounds) -> tuple[str, Recipe] | None:
    """The recipe for a model that is quantized already, where that is another, and the stage that
    fetches the model."""
    changed = {
        name: spec.model_copy(update={"with_": spec.with_packed, "with_packed": None})
        for name, spec in recipe.stages.items()
        if spec.with_packed is not None
    }
    for name in changed:
        source = source_of(name, recipe.stages)
        if format_of(source, recipe.stages, job, bounds) == CHECKPOINT:
            return source, recipe.model_copy(update={"stages": {**recipe.stages, **changed}})
    return None


def _or_error(job: Job, recipe: Recipe, bounds: StageBounds) -> JobDraft | UsageError:
    try:
        return _as_written(job, recipe, bounds)
    except (RecipeError, GraphError) as error:
        return error


def _as_written(job: Job, recipe: Recipe, bounds: StageBounds) -> JobDraft:
    """The draft of a job, whatever its model is."""
    stages: dict[str, StageDraft] = {}
    chosen_stages: dict[str, ChosenStage] = {}
    levels: dict[str, LevelDraft] = {}
    recipe = with_reference(recipe, job, bounds)
    specs = _needed(recipe.stages)
    for name in order({name: inputs_of(spec).values() for name, spec in specs.items()}):
        _refuse_absent(name, specs[name], chosen_stages, job)
        for stage in stage_drafts(name, specs[name], job, chosen_stages, bounds):
            stages.setdefault(stage["name"], stage)
        if specs[name].stop_dominated and name in chosen_stages:
            levels |= _level(name, specs[name], job, chosen_stages)
    reference = recipe.run.reference
    return JobDraft(
        varying={name: without_secrets(value) for name, value in job.varying.items()},
        called=_called(job, recipe),
        overrides=[*map(without_secrets, job.overrides)],
        stages=list(stages.values()),
        reference=reference if reference in stages else None,
        levels=levels,
        packed=None,
    )


def _called(job: Job, recipe: Recipe) -> str | None:
    """The name that a recipe gives its model; None where it leaves that to the source."""
    for field, name in (("name", recipe.name), ("model.name", recipe.model.name)):
        if name:
            return str(hidden(name, job, field))
    return None


def _level(
    name: str, spec: StageSpec, job: Job, chosen_stages: Mapping[str, ChosenStage]
) -> dict[str, LevelDraft]:
    """The measurement as one that may end early; nothing where its model's size is not foreseen.

    Raises RecipeError for a stage that cannot end early.
    """
    stage = chosen_stages[name].stage
    chain = stage.chain
    if chain is None:
        where = job.origins.origin(f"stages.{name}.stop_dominated")
        raise RecipeError(
            f"stages.{name}.stop_dominated ({where}): {describe(chosen(stage))} measures to its "
            f"end; leave it out ({_chained()} can stop early)"
        )
    model = chosen_stages[inputs_of(spec)[chain.model]]
    bits = model.stage.bits(model.params)
    if bits is None:
        return {}
    frontier = plain(f"{name}_frontier", chain.through, {})
    roles = ChainRoles(model=chain.model, measured=chain.measured, rivals=chain.rivals)
    return {name: LevelDraft(bits=bits, frontier=frontier, roles=roles)}


def _chained() -> str:
    """The stages that can end early, by what they measure."""
    stages = [stage for kind in all_stages().values() for stage in kind if stage.chain is not None]
    metrics = {f"metric {chosen(stage).get('metric', stage.kind)}" for stage in stages}
    return ", ".join(sorted(metrics))


def _needed(specs: Mapping[str, StageSpec]) -> Mapping[str, StageSpec]:
    """All stages but optional ones that none of the others need."""
    needed = {stage for spec in specs.values() for stage in spec.needs.values()}
    remaining = {name: spec for name, spec in specs.items() if name in needed or not spec.optional}
    return remaining if len(remaining) == len(specs) else _needed(remaining)


def _refuse_absent(
    name: str, spec: StageSpec, chosen_stages: Mapping[str, ChosenStage], job: Job
) -> None:
    """Raise for a stage that takes what another would make if its own input were not null."""
    for role, stage in inputs_of(spec).items():
        if stage not in chosen_stages:
            field = f"stages.{name}.needs.{role}"
            raise RecipeError(
                f"{field} ({job.origins.origin(field)}): stage {stage!r} has nothing to work "
                f"on, for run.reference is null ({job.origins.origin('run.reference')}); "
                "name a stage as run.reference"
            )
