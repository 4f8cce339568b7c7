"""A composed and validated job as plain JSON: what is remembered between runs.

A draft knows its stages' parameters, versions and fingerprints, but pins nothing yet: local files
and hub revisions are looked at anew each time (planner.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypedDict

from qpipe.core.key import Json


class StageDraft(TypedDict):
    """One stage of a job. ``needs`` maps role to the name of another stage of the job.

    ``source`` is set for a stage that fetches: its ``params`` are then ``{"source", "revision"}``.
    ``resources`` are the fields of `qpipe.core.graph.Resources`, ``asides`` parameters that are in
    no key, ``text_alone`` the role of a checkpoint whose towers for images and sound it leaves out.
    ``unpickle`` makes safetensors of a source that comes to pickles; None where it may not.
    """

    name: str
    stage: str
    version: int
    params: dict[str, Json]
    engine: dict[str, Json]
    needs: dict[str, str]
    source: bool
    entry: str
    python: str | None
    reads_once: str | None
    imports: list[str]
    unread: dict[str, list[str]]
    timeout: float | None
    resources: dict[str, Any]
    asides: dict[str, Json]
    text_alone: str | None
    stand_in: StandInDraft | None
    unpickle: StageDraft | None


class StandInDraft(TypedDict):
    """A stage in the place of another, where the model in the role ``role`` is a checkpoint of a
    class that is not among ``known``, or quantized by one of ``methods``."""

    role: str
    known: list[str]
    methods: list[str]
    stage: StageDraft


class ChainRoles(TypedDict):
    """The roles of `qpipe.stages.base.Chain`."""

    model: str
    measured: str
    rivals: str


class LevelDraft(TypedDict):
    """A measurement that may end early: about how many bits a weight of its model takes, and the
    stage that hands its result on to larger levels, in which roles."""

    bits: float
    frontier: StageDraft
    roles: ChainRoles


class JobDraft(TypedDict):
    """One job: what sets it apart in a sweep, by setting, what its model is called (None: as its
    source is), its stages in order, and which stage is the reference.

    ``levels`` are those of its stages that may end early, by name; ``packed`` is for a model that
    is quantized already.
    """

    varying: dict[str, str]
    called: str | None
    overrides: list[str]
    stages: list[StageDraft]
    reference: str | None
    levels: dict[str, LevelDraft]
    packed: PackedJobDraft | None


class PackedJobDraft(TypedDict):
    """The job in place of another, where the model that the stage ``source`` fetches is quantized
    already: a draft, or why there is none. ``otherwise`` is why there is none for other models,
    None where there is."""

    source: str
    job: JobDraft | str
    otherwise: str | None


class InvalidJobDraft(TypedDict):
    """A job of a sweep that is left out: its place among all jobs, the overrides that set it apart
    and what is wrong with it."""

    index: int
    name: str
    error: str


class ExecutorDraft(TypedDict):
    """An executor's settings: name, cores and bytes to use (None: all), booked with other processes
    or not, memory limits enforced."""

    name: str
    cpus: int | None
    memory: int | None
    share: bool
    enforce_memory: bool


class GuideDraft(TypedDict):
    """The question of a guided sweep (`qpipe.recipe.guide.GuideSpec`): bytes, nats a token."""

    find: Literal["front", "smallest", "best"]
    max_size: int | None
    max_kld: float | None
    confidence: float
    first: int
    whole: bool


class RunDraft(TypedDict):
    """All jobs of a command, and the settings of the run that they share.

    ``notes`` are to be told. ``invalid`` are jobs that cannot be run; ``skip_invalid`` says that
    the others may be run without them. ``keep_going`` is None where the recipe leaves it open; with
    ``results_only`` what nothing needs any more goes at once. ``guide`` is what a guided sweep
    looks for, None where every job is run to its end.
    """

    jobs: list[JobDraft]
    notes: list[str]
    invalid: list[InvalidJobDraft]
    skip_invalid: bool
    executor: ExecutorDraft
    keep_going: bool | None
    results_only: bool
    objective: list[str]
    guide: GuideDraft | None


def describe(params: Mapping[str, Json]) -> str:
    """Parameters as a short text for people."""
    return ", ".join(f"{name}={value}" for name, value in params.items() if value is not None)
