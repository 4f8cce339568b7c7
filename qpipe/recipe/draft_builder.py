"""Validated recipes → drafts: each stage found, its parameters checked, its inputs wired."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, NamedTuple

from qpipe.core import env_values
from qpipe.core.graph import Resources, order
from qpipe.core.key import Json
from qpipe.errors import GraphError, RecipeError, UsageError, nearest
from qpipe.machine import capacity
from qpipe.recipe import messages
from qpipe.recipe.draft import (
    ChainRoles,
    ExecutorDraft,
    InvalidJobDraft,
    JobDraft,
    LevelDraft,
    RunDraft,
    StageDraft,
    StandInDraft,
    describe,
)
from qpipe.recipe.overrides import distinct, idle_notes, label
from qpipe.recipe.references import variables
from qpipe.recipe.request import InvalidJob, Job
from qpipe.recipe.schema import Recipe, ResourcesSpec, StageSpec, checked, resolve_alias, validate
from qpipe.stages.base import GGUF, InputFile, Params, Stage
from qpipe.stages.registry import AUTO, all_stages, chosen, entry, find, refused, settled

# What stands in a node's parameters for a file that has become an input.
FILE_INPUT = "(input)"


class _ChosenStage(NamedTuple):
    """The class of a stage of a job, and its validated parameters."""

    stage: type[Stage]
    params: Params

    @property
    def format(self) -> str | None:
        """The format of the model which it makes."""
        return self.stage.makes(self.params)


class _Bounds(NamedTuple):
    """The limits of a stage of a job: cores, and seconds (None: all that it needs)."""

    cores: int
    timeout: float | None


class _ValidJob(NamedTuple):
    """A valid job of a sweep."""

    recipe: Recipe
    draft: JobDraft

    @property
    def stages(self) -> list[str]:
        return [stage["name"] for stage in self.draft["stages"]]


def draft(jobs: Sequence[Job | InvalidJob]) -> RunDraft:
    """The draft of a whole command.

    Raises RecipeError or GraphError, naming the field, for a single job that is wrong and where all
    jobs of a sweep are; else the wrong ones are in ``invalid``.
    """
    usable = capacity.usable_cores()
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
    objective = first.run.objective
    return RunDraft(
        jobs=[one.draft for one in valid],
        notes=idle_notes(composed, [one.stages for one in valid]),
        invalid=invalid,
        skip_invalid=any(one.recipe.run.skip_invalid for one in valid),
        executor=_executor(first),
        keep_going=_keep_going([one.recipe for one in valid]),
        results_only=all(one.recipe.run.keep == "results" for one in valid),
        objective=[objective] if isinstance(objective, str) else list(objective),
    )


def _keep_going(recipes: Sequence[Recipe]) -> bool | None:
    """The value that recipes of one sweep have in common; True wins, None is no value."""
    values = {recipe.run.keep_going for recipe in recipes} - {None}
    return True in values if values else None


def _tried(job: Job | InvalidJob, usable: int) -> _ValidJob | UsageError:
    if isinstance(job, InvalidJob):
        return job.error
    try:
        recipe = validate(job)
        return _ValidJob(recipe, _job(job, recipe, usable))
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
        name=spec.name, cpus=spec.cpus, memory=spec.memory, enforce_memory=spec.enforce_memory
    )


def _job(job: Job, recipe: Recipe, usable: int) -> JobDraft:
    """The draft of a job, on a machine of which ``usable`` cores may be used."""
    stages: dict[str, StageDraft] = {}
    chosen_stages: dict[str, _ChosenStage] = {}
    levels: dict[str, LevelDraft] = {}
    bounds = _Bounds(recipe.executor.cpus or usable, recipe.run.timeout)
    specs = _needed(recipe.stages)
    for name in order({name: _inputs_of(spec).values() for name, spec in specs.items()}):
        _refuse_absent(name, specs[name], chosen_stages, job)
        for stage in _stage(name, specs[name], job, chosen_stages, bounds):
            stages.setdefault(stage["name"], stage)
        if specs[name].stop_dominated and name in chosen_stages:
            levels |= _level(name, specs[name], job, chosen_stages)
    reference = recipe.run.reference
    if reference is not None and reference not in recipe.stages:
        raise RecipeError(
            f"run.reference ({job.origins.origin('run.reference')}): {reference!r} is no stage of "
            f"this recipe; {nearest(reference, stages)}"
        )
    return JobDraft(
        varying=dict(job.varying),
        called=_called(job, recipe),
        overrides=list(job.overrides),
        stages=list(stages.values()),
        reference=reference if reference in stages else None,
        levels=levels,
    )


def _called(job: Job, recipe: Recipe) -> str | None:
    """The name that a recipe gives its model; None where it leaves that to the source."""
    for field, name in (("name", recipe.name), ("model.name", recipe.model.name)):
        if name:
            return str(_hidden(name, job, field))
    return None


def _level(
    name: str, spec: StageSpec, job: Job, chosen_stages: Mapping[str, _ChosenStage]
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
    model = chosen_stages[_inputs_of(spec)[chain.model]]
    bits = model.stage.bits(model.params)
    if bits is None:
        return {}
    frontier = _plain(f"{name}_frontier", chain.through, {})
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


def _inputs_of(spec: StageSpec) -> dict[str, str]:
    """The stages that fill roles."""
    return {role: stage for role, stage in spec.needs.items() if stage is not None}


def _refuse_absent(
    name: str, spec: StageSpec, chosen_stages: Mapping[str, _ChosenStage], job: Job
) -> None:
    """Raise for a stage that takes what another would make if its own input were not null."""
    for role, stage in _inputs_of(spec).items():
        if stage not in chosen_stages:
            field = f"stages.{name}.needs.{role}"
            raise RecipeError(
                f"{field} ({job.origins.origin(field)}): stage {stage!r} has nothing to work "
                f"on, for run.reference is null ({job.origins.origin('run.reference')}); "
                "name a stage as run.reference"
            )


def _stage(
    name: str, spec: StageSpec, job: Job, chosen_stages: dict[str, _ChosenStage], bounds: _Bounds
) -> list[StageDraft]:
    """The draft of a stage, after those of the files that its parameters name.

    ``chosen_stages`` are the stages before it; it is added. Nothing where a role that it cannot do
    without is null.
    """
    field = f"stages.{name}"
    raw = spec.with_ or {}
    needs = _inputs_of(spec)
    formats = {role: chosen_stages[name].format for role, name in needs.items()}
    try:
        stage = find(spec.uses, raw, field=field, formats=formats)
    except RecipeError as error:
        raise RecipeError(f"{error} ({job.origins.origin(field)})") from None
    if any(role in stage.roles and spec.needs[role] is None for role in spec.needs):
        return []
    params = checked(stage.recipe_params(), settled(stage, raw), job, at=f"{field}.with")
    chosen_stages[name] = _ChosenStage(stage, params)
    _check_roles(field, stage, needs, job)
    _check_formats(field, stage, needs, formats, job)
    sources, values = _sources(field, params, needs, job)
    made = _drafted(name, spec, job, bounds, _ChosenStage(stage, params), values)
    made["needs"] = needs
    if (other := _stand_in(stage, raw, formats, job, field)) is not None:
        others = _sources(field, other.params, {}, job)[1]
        stand_in = _drafted(name, spec, job, bounds, other, others)
        stand_in["needs"] = needs
        known = sorted(stage.reads())
        made["stand_in"] = StandInDraft(role=stage.roles[0], known=known, stage=stand_in)
    return [*sources, made]


def _sources(
    field: str, params: Params, needs: dict[str, str], job: Job
) -> tuple[list[StageDraft], dict[str, Json]]:
    """The stages of files that parameters name, which are added to ``needs``, and the values of all
    parameters as a node has them."""
    values = params.model_dump(mode="json")
    sources = []
    for parameter in _file_parameters(params):
        if values[parameter] is not None:
            if parameter in needs:
                raise RecipeError(
                    f"{field}.with.{parameter} ({job.origins.origin(f'{field}.with.{parameter}')}):"
                    f" a file is given, and needs.{parameter} names stage {needs[parameter]!r}; "
                    "keep one of them"
                )
            source = _source(str(values[parameter]), parameter)
            sources.append(source)
            needs[parameter] = source["name"]
            values[parameter] = FILE_INPUT
    return sources, values


def _drafted(
    name: str,
    spec: StageSpec,
    job: Job,
    bounds: _Bounds,
    choice: _ChosenStage,
    values: dict[str, Json],
) -> StageDraft:
    """A stage whose parameters are known, not wired yet."""
    stage, params = choice
    fetches = stage.recipe_params() is not stage.Params
    if not fetches:
        # All but a source, which is what is looked at: it is shown for what it is.
        values = {n: _hidden(v, job, f"stages.{name}.with.{n}") for n, v in values.items()}
    needed = stage.resources(params, cores=bounds.cores)
    if spec.stop_dominated:  # one level after another: there is nobody to leave cores for
        needed = replace(needed, cpus=bounds.cores)
    return StageDraft(
        name=name,
        stage=stage.kind,
        version=stage.version,
        params=values,
        engine=dict(stage.fingerprint(params)),
        needs={},
        source=fetches,
        entry=entry(stage),
        python=stage.python(params),
        reads_once=stage.reads_once,
        unread={role: list(patterns) for role, patterns in stage.unread.items()},
        timeout=spec.timeout or bounds.timeout,
        resources=asdict(_resources(needed, spec.resources)),
        asides=_asides(params),
        stand_in=None,
    )


def _stand_in(
    stage: type[Stage],
    raw: Mapping[str, Any],
    formats: Mapping[str, str | None],
    job: Job,
    field: str,
) -> _ChosenStage | None:
    """The stage that may take the place of ``stage``, if the recipe leaves that open and all its
    settings are such that it can."""
    other = stage.stand_in
    if other is None or formats.get(stage.roles[0]) == GGUF:
        return None
    mine, others = chosen(stage), chosen(other)
    if any(raw.get(name, AUTO) != AUTO for name in mine if mine[name] != others[name]):
        return None
    try:
        return _ChosenStage(
            other, checked(other.Params, settled(other, raw), job, at=f"{field}.with")
        )
    except RecipeError:
        return None


def _asides(params: Params) -> dict[str, Json]:
    """The parameters that are excluded from keys, as far as they are not at their defaults."""
    excluded = {name for name, field in type(params).model_fields.items() if field.exclude}
    return {
        name: getattr(params, name)
        for name in sorted(excluded)
        if getattr(params, name) != type(params).model_fields[name].default
    }


def _hidden(value: Json, job: Job, field: str) -> Json:
    """The value of a field without those of environment variables, which may be secrets."""
    names = variables(job.environment, resolve_alias(field, job.aliases))
    there = {name: os.environ[name] for name in names if name in os.environ}
    return env_values.hide(value, there)


def _resources(declared: Resources, own: ResourcesSpec) -> Resources:
    """A stage's needs as the recipe gives them, else as the stage declares them."""
    said = own.model_dump(exclude_none=True)
    if own.memory is not None:
        said |= {"memory_per_input_byte": 0.0, "memory_per_cpu": 0}
    if own.cpus is not None:
        said["input_bytes_per_cpu"] = 0
    return replace(declared, **said)


def _check_roles(field: str, stage: type[Stage], needs: Mapping[str, str], job: Job) -> None:
    roles = (*stage.roles, *stage.optional_roles)
    for role in needs:
        if role not in roles:
            raise GraphError(
                f"{field}.needs.{role} ({job.origins.origin(f'{field}.needs.{role}')}): "
                f"{stage.kind} has no input {role!r}; {nearest(role, roles)}"
            )
    for role in stage.roles:
        if role not in needs:
            raise GraphError(
                f"{field}.needs ({job.origins.origin(field)}): {stage.kind} needs a stage for its "
                f"input {role!r}: write `needs: {{{role}: STAGE}}`"
            )


def _check_formats(
    field: str,
    stage: type[Stage],
    needs: Mapping[str, str],
    formats: Mapping[str, str | None],
    job: Job,
) -> None:
    for role in refused(stage, formats):
        raise RecipeError(
            f"{field}.needs.{role} ({job.origins.origin(f'{field}.needs.{role}')}): stage "
            f"{needs[role]!r} makes a model of format {formats[role]!r}, and this one reads "
            f"{' or '.join(map(repr, stage.accepts[role]))} ({describe(chosen(stage))}); name a "
            "stage that makes such a model, or leave the choice to auto"
        )


def _file_parameters(params: Params) -> list[str]:
    parameters: list[str] = []
    for name, info in type(params).model_fields.items():
        marks: list[Any] = [*info.metadata]
        for argument in getattr(info.annotation, "__args__", ()):
            marks += getattr(argument, "__metadata__", ())
        if any(isinstance(mark, InputFile) for mark in marks):
            parameters.append(name)
    return parameters


def _source(value: str, parameter: str) -> StageDraft:
    """A download of the file that a parameter names; named after both, so that jobs share it."""
    from qpipe.sources.download import Download

    return _plain(f"{parameter}:{value}", Download, {"source": value, "revision": None})


def _plain(name: str, stage: type[Stage], params: dict[str, Json]) -> StageDraft:
    """A stage that no recipe names, wired by whoever adds it."""
    return StageDraft(
        name=name,
        stage=stage.kind,
        version=stage.version,
        params=params,
        engine={},
        needs={},
        source=stage.recipe_params() is not stage.Params,
        entry=entry(stage),
        python=None,
        reads_once=None,
        unread={role: list(patterns) for role, patterns in stage.unread.items()},
        timeout=None,
        resources=asdict(Resources()),
        asides={},
        stand_in=None,
    )
