"""The overrides of a sweep's jobs: what sets each job apart, and which have no effect."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from qpipe.recipe.request import Job

# Blocks of the base that stages read which a recipe may do without.
_BLOCKS = ("calibration",)
# Values that are no words.
_CONSTANTS = ("true", "false", "null", "inf", "nan")
_NUMBER = r"[-+]?[\d.]+([eE][-+]?\d+)?"


def labels(jobs: Sequence[Sequence[str]], *, fixed: Collection[str], whole: bool) -> list[str]:
    """A label for each job: the overrides that vary, without those whose key is ``fixed``.

    ``whole``: these are all jobs, so what they have in common does not vary.
    One varying key gives its values alone ("Q4_0") where they are words, else "seed=0"; several
    give "type=Q4_0 via=source", with whole keys where the last part is not enough.
    """
    split = [dict(_split(text) for text in job) for job in jobs]
    keys = [key for key in dict.fromkeys(k for job in split for k in job) if key not in fixed]
    if whole:
        keys = [key for key in keys if len({job.get(key) for job in split}) > 1]
    short = {key: key.lstrip("+~").rsplit(".", 1)[-1] for key in keys}
    if len(set(short.values())) < len(short):
        short = {key: key for key in keys}
    alone = len(keys) == 1 and all(_says_what(job[keys[0]]) for job in split if keys[0] in job)
    return [_label(job, short, alone=alone) for job in split]


def _says_what(value: str) -> bool:
    """Return whether a value needs no name before it: ``Q4_0`` does not, ``0`` and ``true`` do.

    Empty is what Hydra's group without a value is: its key says all.
    """
    return not value or (
        not re.fullmatch(_NUMBER, value)
        and value not in _CONSTANTS
        and any(map(str.isalpha, value))
    )


def distinct(jobs: Sequence[Sequence[str]]) -> list[str]:
    """For each job its overrides, whole, without those that all jobs have."""
    common = set(jobs[0]).intersection(*jobs[1:]) if len(jobs) > 1 else set()
    return [" ".join(text for text in job if text not in common) for job in jobs]


def _label(job: dict[str, str], short: dict[str, str], *, alone: bool) -> str:
    if alone:
        return " ".join(job[key] or key for key in short if key in job)
    return " ".join(f"{name}={job[key]}" for key, name in short.items() if key in job)


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
