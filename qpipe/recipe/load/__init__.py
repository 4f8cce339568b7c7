"""Recipes composed by Hydra into plain data. Only this package imports hydra or omegaconf.

`drive` is the way in. Nothing is written to disk, no recipe can run code, and the process (folder,
environment, logging) is left as it is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

from qpipe.errors import RecipeError
from qpipe.recipe import draft_cache
from qpipe.recipe.load.compose import Composer
from qpipe.recipe.load.quoting import quoted
from qpipe.recipe.load.sweep import JobsHandler, refuse_guide_alone, register, sweep
from qpipe.recipe.request import InvalidJob, Job, Request, find_recipe
from qpipe.stages.plugins import source_files

__all__ = ["JobsHandler", "compose_each", "drive", "remember_batch"]


def drive(request: Request, handle: JobsHandler, *, folder: Path | None = None) -> None:
    """Compose what is asked for and hand it on, in one batch unless a sweeper wants several.

    ``folder`` takes what a sweeper plugin writes (None: nothing of it is kept). With Hydra's flags
    the answer is printed and ``handle`` is not called. Raises RecipeError for a wrong recipe or
    override, and whatever ``handle`` raises.
    """
    register()
    own = quoted(request.overrides)
    request = replace(request, overrides=own.texts)
    with _hydra_as_it_was(), own.in_users_words():
        composer = Composer(find_recipe(request.recipe), request.overrides, own)
        if request.flags:
            from qpipe.recipe.load.flags import show

            show(request, composer)
            return
        master = composer.master(multirun=request.multirun)
        if request.multirun or master.is_sweep:
            sweep(composer, master, handle, folder=folder)
        else:
            composer.refuse_sweeps()
            refuse_guide_alone(master)
            handle(composer.batch([composer.task], [{}], first=0, whole=True))


def compose_each(recipe: str, jobs: Sequence[Sequence[str]]) -> list[Job | InvalidJob]:
    """Compose jobs of one recipe that have nothing to do with each other, each by its overrides and
    as a single run, even where the recipe says that it is a sweep.

    They share what Hydra composes. Raises RecipeError for a recipe that cannot be read; a job that
    is wrong by itself is an `InvalidJob`.
    """
    register()
    with _hydra_as_it_was():
        composer = Composer(find_recipe(recipe), ())
        return [_composed(composer, overrides) for overrides in jobs]


def _composed(composer: Composer, overrides: Sequence[str]) -> Job | InvalidJob:
    own = quoted(overrides)
    composer.own = own
    try:
        with own.in_users_words():
            for text in own.texts:
                if composer.parse(text).is_hydra_override():
                    raise RecipeError(
                        f"the override {text!r}: Hydra's own settings are for a whole command"
                    )
                if composer.parse(text).is_sweep_override():
                    raise RecipeError(
                        f"the override {text!r} has several values: one job takes one"
                    )
            return composer.batch([own.texts], [{}], first=0, whole=True)[0]
    except RecipeError as error:
        return InvalidJob(tuple(overrides), error)


def remember_batch(
    folder: Path, request: Request, jobs: Sequence[Job | InvalidJob], payload: Mapping[str, Any]
) -> bool:
    """Keep what ``jobs``, all the jobs of a request, led to; see `qpipe.recipe.draft_cache`.

    Not where a parameter was read from a file, which may change: it is an aside of several values.
    """
    stages = [stage for job in payload["jobs"] for stage in job.get("stages", ())]
    if any(isinstance(value, dict) for stage in stages for value in stage["asides"].values()):
        return False
    witnesses = next(job for job in jobs if isinstance(job, Job)).witnesses
    if witnesses is not None:  # what plugins declare is in the payload
        witnesses = witnesses.with_files(source_files())
    return draft_cache.remember(folder, request, witnesses, payload)


@contextlib.contextmanager
def _hydra_as_it_was() -> Iterator[None]:
    """Hydra keeps its state in singletons; whoever uses Hydra around us finds theirs again."""
    before = GlobalHydra.instance().hydra, HydraConfig.instance().cfg
    try:
        yield
    finally:
        GlobalHydra.instance().hydra, HydraConfig.instance().cfg = before
