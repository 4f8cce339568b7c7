"""What the jobs behind published values came to, or would: run as one graph, or foreseen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from qpipe.core.events import Emit
from qpipe.errors import QpipeError
from qpipe.published.formats import GGUF_BITS, read_format
from qpipe.published.selection import TableValue
from qpipe.recipe.draft import RunDraft
from qpipe.session.context import Context
from qpipe.session.reproducing.jobs import TablePlan, drafts, merged
from qpipe.session.reproducing.measured import JobEnd, run
from qpipe.session.reproducing.planned import outlooks
from qpipe.session.reproducing.question import Question
from qpipe.session.reproducing.room import without_room
from qpipe.session.reproducing.table_job import TableJob
from qpipe.sources.hub_source import is_commit, parse_hub


@dataclass(frozen=True)
class JobEnds:
    """``ends`` are what each job came to: the error that it would fail with or what it would take
    in words, of a plan. ``others`` says of which other model a value's job is. ``document`` is the
    record of the run, if there was one. ``calibrated`` are jobs whose models hang on calibration
    data, ``sources`` the commits of repositories and the digests of local models and texts, and
    ``locks`` commits by recipe, as lock files have them."""

    ends: Mapping[TableJob, JobEnd | QpipeError | str]
    others: Mapping[int, str]
    errors: Sequence[QpipeError] = ()
    document: Mapping[str, Any] | None = None
    calibrated: frozenset[TableJob] = frozenset()
    sources: Mapping[str, str] = field(default_factory=dict)
    locks: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def job_ends(
    question: Question,
    context: Context,
    wanted: Mapping[int, tuple[TableValue, TableJob]],
    listeners: Sequence[Emit],
) -> JobEnds:
    """Run or foresee the jobs of values, each of which has a number.

    Raises RecipeError where one is wrong, before anything runs, and InterruptedRunError.
    """
    drafted = drafts(wanted.values(), context.store, context.notify)
    others = {
        number: why
        for number, (each, job) in wanted.items()
        if (why := _other_model(each, drafted[job]) or _other_type(each)) is not None
    }
    of_them = {job for number, (_, job) in wanted.items() if number not in others}
    left = {job: draft for job, draft in drafted.items() if job in of_them}
    if not left:
        return JobEnds({}, others)
    planned = merged(left, context.store, context.notify, ask=not question.plan)
    if planned.places:
        planned = planned.without(without_room(planned, context))
    if question.plan:
        return JobEnds(outlooks(planned, context), others, sources=_sources(planned))
    done = run(planned, context, question.command, listeners=listeners)
    return JobEnds(
        {**done.ends},
        others,
        done.errors,
        done.run.document if done.run else None,
        frozenset(job for job, draft in left.items() if _is_calibrated(draft)),
        _sources(planned),
        planned.locks,
    )


def _is_calibrated(draft: RunDraft) -> bool:
    kinds = {stage["stage"] for stage in draft["jobs"][0]["stages"]}
    return not kinds.isdisjoint(("calibrate", "imatrix"))


def _sources(planned: TablePlan) -> dict[str, str]:
    """Return what pins each source, by its name."""
    pins: dict[str, str] = {}
    for node in planned.partial.plan.graph.values() if planned.places else ():
        kind, params = node.params.get("kind"), node.params
        if kind == "local":
            pins[str(node.runtime.where["name"])] = f"sha256:{params['tree']}"
        elif kind == "remote":
            files = params["files"]
            assert isinstance(files, Mapping)
            pins |= {name: f"sha256:{digest}" for name, digest in files.items()}
        elif kind in ("model", "dataset"):
            inside = f"/{params['file']}" if params.get("file") else ""
            pins[f"{kind}:{params['repo']}{inside}"] = str(params["commit"])
    return dict(sorted(pins.items()))


def _other_type(each: TableValue) -> str | None:
    """Why a job is of another type of llama.cpp's than its row's format names; None if it is not,
    or the row's overrides name none."""
    chosen = [o.partition("=")[2] for o in each.value.overrides if o.startswith("quantize.type=")]
    stated = read_format(each.value.row.format).type
    if not chosen or stated not in GGUF_BITS or chosen[-1].upper() not in GGUF_BITS:
        return None
    if chosen[-1].upper() == stated:
        return None
    return f"another type: the row is of {stated}, and its overrides make {chosen[-1]}"


def _other_model(each: TableValue, draft: RunDraft) -> str | None:
    """Why a job is of another model, or of another commit of it, than its row; None if it is not.

    A row whose model is no repository is taken at its word.
    """
    row = each.value.row
    stages = {stage["name"]: stage for stage in draft["jobs"][0]["stages"]}
    params = stages["download"]["params"] if "download" in stages else {}
    revision = params.get("revision")
    source = parse_hub(str(params.get("source")), None if revision is None else str(revision))
    stated = parse_hub(row.model or "", row.revision)
    if source is None or stated is None:
        return None
    if source.repo.lower() != stated.repo.lower():
        return (
            f"another model: the row is of {stated.repo}, and the recipe {each.value.recipe} "
            f"makes {source.repo}; name another recipe, or local"
        )
    both = (source.revision, stated.revision)
    if row.revision is not None and all(map(is_commit, both)) and both[0] != both[1]:
        return (
            f"another commit of {source.repo}: the row is of {stated.revision[:8]}, and the recipe "
            f"{each.value.recipe} takes {source.revision[:8]}; model.revision={stated.revision} in "
            "overrides takes the row's"
        )
    return None
