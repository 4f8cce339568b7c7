"""Recipes written by tests, and what `drive` makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent

from qpipe.recipe.load import drive
from qpipe.recipe.request import InvalidJob, Job, Request


def write(path: Path, text: str) -> str:
    """Write a YAML file; its path, as a command line has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dedent(text).lstrip("\n"))
    return str(path)


def batches(recipe: str, *overrides: str, multirun: bool = False) -> list[list[Job]]:
    """Every batch that a request comes to; the objective of each job is its number."""
    seen: list[list[Job]] = []

    def handle(jobs: Sequence[Job | InvalidJob]) -> list[float]:
        seen.append([composed(job) for job in jobs])
        return [float(job.number) for job in seen[-1]]

    drive(Request(recipe, overrides, multirun), handle)
    return seen


def composed(job: Job | InvalidJob) -> Job:
    """The job. Raises what is wrong with it."""
    if isinstance(job, InvalidJob):
        raise job.error
    return job


def single(recipe: str, *overrides: str) -> Job:
    """The one job of a request without a sweep."""
    ((job,),) = batches(recipe, *overrides)
    return job


def sweep(recipe: str, *overrides: str) -> list[Job]:
    """The jobs of a plain sweep: one batch."""
    (jobs,) = batches(recipe, *overrides, multirun=True)
    return jobs
