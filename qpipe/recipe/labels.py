"""What sets the jobs of a sweep apart, in few words."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def labels(jobs: Sequence[Sequence[str]], *, fixed: Collection[str], whole: bool) -> list[str]:
    """A label for each job: the overrides that vary, without those whose key is ``fixed``.

    ``whole``: these are all jobs, so what they have in common does not vary.
    One varying key gives its values alone ("Q4_0"), several give "type=Q4_0 via=source", with
    whole keys where the last part is not enough.
    """
    split = [dict(_split(text) for text in job) for job in jobs]
    keys = [key for key in dict.fromkeys(k for job in split for k in job) if key not in fixed]
    if whole:
        keys = [key for key in keys if len({job.get(key) for job in split}) > 1]
    short = {key: key.lstrip("+~").rsplit(".", 1)[-1] for key in keys}
    if len(set(short.values())) < len(short):
        short = {key: key for key in keys}
    return [_label(job, short) for job in split]


def distinct(jobs: Sequence[Sequence[str]]) -> list[str]:
    """For each job its overrides, whole, without those that all jobs have."""
    common = set(jobs[0]).intersection(*jobs[1:]) if len(jobs) > 1 else set()
    return [" ".join(text for text in job if text not in common) for job in jobs]


def _label(job: dict[str, str], short: dict[str, str]) -> str:
    if len(short) == 1:
        return " ".join(job[key] or key for key in short if key in job)
    return " ".join(f"{name}={job[key]}" for key, name in short.items() if key in job)


def _split(text: str) -> tuple[str, str]:
    key, _, value = text.partition("=")
    return key, value
