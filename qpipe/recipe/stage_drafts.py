"""The drafts of one stage of a job: its class found, parameters checked, inputs and files wired."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, NamedTuple

from qpipe.core import env_values
from qpipe.core.graph import Resources
from qpipe.core.key import Json
from qpipe.errors import GraphError, RecipeError, nearest
from qpipe.recipe.checking import checked, resolve_alias
from qpipe.recipe.draft import (
    StageDraft,
    StandInDraft,
    describe,
)
from qpipe.recipe.references import variables
from qpipe.recipe.request import Job
from qpipe.recipe.schema import ResourcesSpec, StageSpec
from qpipe.stages import device
from qpipe.stages.base import GGUF, InputFile, Params, Stage, keyed
from qpipe.stages.registry import AUTO, chosen, entry, find, refused, settled

# What stands in a node's parameters for a file that has become an input.
FILE_INPUT = "(input)"


class ChosenStage(NamedTuple):
    """The class of a stage of a job, and its validated parameters."""

    stage: type[Stage]
    params: Params

    @property
    def format(self) -> str | None:
        """The format of the model which it makes."""
        return self.stage.makes(self.params)


class StageBounds(NamedTuple):
    """The limits of a stage of a job: cores, GPUs, and seconds (None: all that it needs)."""

    cores: int
    gpus: int
    timeout: float | None


def inputs_of(spec: StageSpec) -> dict[str, str]:
    """The stages that fill roles."""
    return {role: stage for role, stage in spec.needs.items() if stage is not None}


def stage_drafts(
    name: str, spec: StageSpec, job: Job, chosen_stages: dict[str, ChosenStage], bounds: StageBounds
) -> list[StageDraft]:
    """The draft of a stage, after those of the files that its parameters name.

    ``chosen_stages`` are the stages before it; it is added. Nothing where a role that it cannot do
    without is null.
    """
    field = f"stages.{name}"
    raw = spec.with_ or {}
    needs = inputs_of(spec)
    formats = {role: chosen_stages[name].format for role, name in needs.items()}
    try:
        stage = find(spec.uses, raw, field=field, formats=formats)
    except RecipeError as error:
        raise RecipeError(f"{error} ({job.origins.origin(field)})") from None
    if any(role in stage.roles and spec.needs[role] is None for role in spec.needs):
        return []
    params = checked(stage.recipe_params(), settled(stage, raw), job, at=f"{field}.with")
    params = _on_device(field, params, spec, job, bounds)
    chosen_stages[name] = ChosenStage(stage, params)
    _check_roles(field, stage, needs, job)
    _check_formats(field, stage, needs, formats, job)
    sources, values = _sources(field, params, needs, job)
    made = _drafted(name, spec, job, bounds, ChosenStage(stage, params), values)
    made["needs"] = needs
    if getattr(params, "allow_pickle", False):
        made["unpickle"] = _unpickle(job, bounds)
    if (other := _stand_in(stage, raw, formats, job, field)) is not None:
        others = _sources(field, other.params, {}, job)[1]
        stand_in = _drafted(name, spec, job, bounds, other, others)
        stand_in["needs"] = needs
        known = sorted(stage.reads())
        methods = sorted({*other.stage.dequantizes()} - {*stage.dequantizes()})
        made["stand_in"] = StandInDraft(
            role=stage.roles[0], known=known, methods=methods, stage=stand_in
        )
    return [*sources, made]


def _on_device(
    field: str, params: Params, spec: StageSpec, job: Job, bounds: StageBounds
) -> Params:
    """The parameters with the device that is meant here, where there is a choice."""
    try:
        return device.settle(params, gpus=bounds.gpus, booked=spec.resources.gpus)
    except ValueError as error:
        where = job.origins.origin(f"{field}.resources.gpus")
        raise RecipeError(f"{field} ({where}): {error}") from None


def _sources(
    field: str, params: Params, needs: dict[str, str], job: Job
) -> tuple[list[StageDraft], dict[str, Json]]:
    """The stages of files that parameters name, which are added to ``needs``, and the values of all
    parameters as a node has them."""
    values = keyed(params)
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
    bounds: StageBounds,
    choice: ChosenStage,
    values: dict[str, Json],
) -> StageDraft:
    """A stage whose parameters are known, not wired yet."""
    stage, params = choice
    fetches = stage.recipe_params() is not stage.Params
    if not fetches:
        # All but a source, which is what is looked at: it is shown for what it is.
        values = {n: hidden(v, job, f"stages.{name}.with.{n}") for n, v in values.items()}
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
        imports=[*stage.imports],
        unread={role: list(patterns) for role, patterns in stage.unread.items()},
        timeout=spec.timeout or bounds.timeout,
        resources=asdict(_resources(needed, spec.resources)),
        asides=_asides(params),
        text_alone=stage.text_alone,
        stand_in=None,
        unpickle=None,
    )


def _unpickle(job: Job, bounds: StageBounds) -> StageDraft:
    """The stage that makes safetensors of a source's pickles."""
    from qpipe.sources.unpickle import Unpickle, UnpickleParams

    choice = ChosenStage(Unpickle, UnpickleParams())
    return _drafted(Unpickle.kind, StageSpec(uses=Unpickle.kind), job, bounds, choice, {})


def _stand_in(
    stage: type[Stage],
    raw: Mapping[str, Any],
    formats: Mapping[str, str | None],
    job: Job,
    field: str,
) -> ChosenStage | None:
    """The stage that may take the place of ``stage``, if the recipe leaves that open and all its
    settings are such that it can."""
    other = stage.stand_in
    if other is None or formats.get(stage.roles[0]) == GGUF:
        return None
    mine, others = chosen(stage), chosen(other)
    if any(raw.get(name, AUTO) != AUTO for name in mine if mine[name] != others[name]):
        return None
    try:
        return ChosenStage(
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


def hidden(value: Json, job: Job, field: str) -> Json:
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

    return plain(
        f"{parameter}:{value}", Download, {"source": value, "revision": None, "sha256": None}
    )


def plain(name: str, stage: type[Stage], params: dict[str, Json]) -> StageDraft:
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
        imports=[],
        unread={role: list(patterns) for role, patterns in stage.unread.items()},
        timeout=None,
        resources=asdict(Resources()),
        asides={},
        text_alone=None,
        stand_in=None,
        unpickle=None,
    )
