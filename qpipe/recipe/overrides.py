"""The overrides of a sweep's jobs: what sets each job apart, and which have no effect."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from qpipe.recipe.request import Job

# Blocks of the base that stages read which a recipe may do without.
_BLOCKS = ("calibration",)

# Settings whose values say by themselves what they are, such as "Q4_0": of those the ones that say
# a model's format, and all.
_FORMATS = ("type", "method", "quantize")
_PLAIN = (*_FORMATS, "evaluate", "metric", "tasks")

# Characters of a value that a label shows, if values can be told apart by so many.
_LONGEST = 24


def varying(
    jobs: Sequence[Sequence[str]], *, fixed: Collection[str], whole: bool
) -> list[dict[str, str]]:
    """For each job the overrides that vary, by setting, without those whose key is ``fixed``.

    ``whole``: these are all jobs, so what they have in common does not vary. A setting is called by
    the last part of its key where that is enough; of a value that is a path or long, only as much
    is kept as tells it from the others.
    """
    split = [dict(_split(text) for text in job) for job in jobs]
    keys = [key for key in dict.fromkeys(k for job in split for k in job) if key not in fixed]
    if whole:
        keys = [key for key in keys if len({job.get(key) for job in split}) > 1]
    short = {key: key.lstrip("+~").rsplit(".", 1)[-1] for key in keys}
    if len(set(short.values())) < len(short):
        short = {key: key for key in keys}
    values = {key: _short([job[key] for job in split if key in job]) for key in keys}
    return [{short[key]: values[key][job[key]] for key in keys if key in job} for job in split]


def label(varying: Mapping[str, str]) -> str:
    """Return what sets a job apart in words: ``Q4_0``, ``Q4_0 seed=1``; empty for a single run."""
    return " ".join(
        value if value and name in _PLAIN else f"{name}={value}" if value else name
        for name, value in varying.items()
    )


def names_format(varying: Mapping[str, str]) -> bool:
    """Return whether a label says in which format a job's model comes out."""
    return any(name in varying for name in _FORMATS)


def distinct(jobs: Sequence[Sequence[str]]) -> list[str]:
    """For each job its overrides, whole, without those that all jobs have."""
    common = set(jobs[0]).intersection(*jobs[1:]) if len(jobs) > 1 else set()
    return [" ".join(_plain(text) for text in job if text not in common) for job in jobs]


def _plain(override: str) -> str:
    """An override as its user would write it, without what Hydra's sweeper escapes."""
    key, equals, value = override.partition("=")
    return f"{key}{equals}{_unquoted(value)}"


def _short(values: Sequence[str]) -> dict[str, str]:
    """Values as labels show them: without Hydra's quoting, paths by their last part, long ones cut,
    as far as they stay distinct."""
    shown = {value: _unquoted(value) for value in values}
    for shorter in (_last_part, _cut):
        tried = {value: shorter(text) for value, text in shown.items()}
        if len(set(tried.values())) == len(set(shown.values())):
            shown = tried
    return shown


def _unquoted(value: str) -> str:
    quoted = re.fullmatch(r"(['\"])(.*)\1", value, re.DOTALL)
    return re.sub(r"\\(.)", r"\1", quoted[2] if quoted else value)


def _last_part(value: str) -> str:
    return value.rstrip("/").rsplit("/", 1)[-1] if value[:1] not in "[{" else value


def _cut(value: str) -> str:
    return value if len(value) <= _LONGEST else f"{value[: _LONGEST - 1]}…"


def _split(text: str) -> tuple[str, str]:
    key, _, value = text.partition("=")
    return key, value


def idle_notes(jobs: Sequence[Job], stages: Sequence[Collection[str]]) -> list[str]:
    """A sentence for each override of a block that none of a command's jobs reads.

    ``stages`` are the names of those of each valid job: what a sweep's other jobs read is read.
    """
    named = {name for names in stages for name in names}
    idle = [
        block for block in _BLOCKS if not any(_reads(job.aliases, block, named) for job in jobs)
    ]
    texts = dict.fromkeys(text for job in jobs for text in job.overrides)
    return [
        f"the override {text!r} has no effect: nothing here reads {block}"
        for text in texts
        for block in idle
        if text.lstrip("+").partition("=")[0].partition(".")[0] == block
    ]


def _reads(aliases: Mapping[str, str], block: str, stages: Collection[str]) -> bool:
    """True if one of the stages takes anything from the block."""
    return any(
        target.split(".")[0] == block and field.split(".")[1] in stages
        for field, target in aliases.items()
        if field.startswith("stages.")
    )
