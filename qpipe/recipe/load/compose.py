"""Jobs composed: by Hydra where the defaults list may differ, else on a copy of what it gave.

Hydra takes tens of milliseconds to compose one job, nearly all of them for the defaults list. Only
some overrides can change that list (those of config groups, and Hydra's own), so jobs that agree
on these share one composition by Hydra; each then gets its remaining overrides on a copy, applied
by Hydra's own function. Interpolations are resolved last, on plain data (references.py).
"""

from __future__ import annotations

import dataclasses
import functools
import pickle
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from qpipe.errors import RecipeError
from qpipe.recipe import messages
from qpipe.recipe.bounds import check_expansion
from qpipe.recipe.load.base import Base, ask, plain, with_scalars
from qpipe.recipe.load.errors import our_errors
from qpipe.recipe.load.quoting import UNQUOTED, QuotedOverrides
from qpipe.recipe.load.repository import RecipeLoader
from qpipe.recipe.origins import Origins, shown
from qpipe.recipe.references import from_environment, references, resolve
from qpipe.recipe.request import InvalidJob, Job, shipped_recipes


class Composer:
    """Composes the jobs of one request.

    ``hydra`` are the overrides of Hydra's own fields, ``task`` all others.
    """

    def __init__(
        self, file: Path, overrides: Sequence[str], own: QuotedOverrides = UNQUOTED
    ) -> None:
        """Raises RecipeError for overrides and a recipe file that cannot be read.

        ``own`` are the overrides as they were given.
        """
        self.file = file
        self.own = own
        self._parsed: dict[str, Override] = {}
        self._groups: dict[str, bool] = {}
        self._bases: dict[tuple[str, ...], Base] = {}
        search_path = create_config_search_path(f"file://{file.parent}")
        if file.parent != shipped_recipes():
            # Hydra (1.3) wants its structured configs last.
            schema = search_path.get_path().pop()
            search_path.append("qpipe", f"file://{shipped_recipes()}")
            search_path.get_path().append(schema)
        self.loader = RecipeLoader(search_path)
        self._parser = OverridesParser.create(config_loader=self.loader)
        self.hydra = tuple(o for o in overrides if self.parse(o).is_hydra_override())
        self.task = tuple(o for o in overrides if o not in self.hydra)
        for text in self.hydra:
            if self.parse(text).is_sweep_override():
                raise RecipeError(f"the override {text!r}: Hydra's own fields cannot be swept")
        with our_errors(file, overrides=overrides):
            self._repository = self.loader.open(file.stem, self.hydra)

    def parse(self, text: str) -> Override:
        """An override as Hydra reads it. Raises RecipeError."""
        if text not in self._parsed:
            if not text or text.startswith("="):
                raise RecipeError(messages.bad_syntax(text, ""))
            if "_target_" in text:
                raise RecipeError(messages.holds_target(f"the override {text!r}"))
            with our_errors(self.file):
                self._parsed[text] = self._parser.parse_overrides([text])[0]
        return self._parsed[text]

    def refuse_sweeps(self) -> None:
        """Raises RecipeError for an override with several values, outside a sweep."""
        for text in self.task:
            if self.parse(text).is_sweep_override():
                raise RecipeError(messages.sweep_without_multirun(text))

    def fixed(self) -> list[Override]:
        """The overrides that every job of a sweep has."""
        parsed = [self.parse(text) for text in self.task]
        return [override for override in parsed if not override.is_sweep_override()]

    def swept(self) -> list[str]:
        """The keys of the overrides that differ between the jobs of a sweep."""
        parsed = [self.parse(text) for text in self.task]
        return [override.key_or_group for override in parsed if override.is_sweep_override()]

    def master(self, *, multirun: bool) -> Base:
        """The composition that says how to run.

        A group left open (``- quantize: ???``) is an error unless a sweep may fill it.
        """
        groups = self._groups_of(self.fixed())
        try:
            return self._base(groups)
        except RecipeError:
            try:
                base = self._base(groups, mode=RunMode.MULTIRUN)
            except RecipeError:
                base = None
            if base is None or not (multirun or base.is_sweep):
                raise
            return base

    def changed(self, base: Base, overrides: Sequence[Override]) -> DictConfig:
        """A copy of ``base`` with the overrides that are not of groups. Raises RecipeError."""
        config = base.copy()
        self.apply_values(overrides, config, base)
        return config

    def apply_values(self, overrides: Sequence[Override], config: DictConfig, base: Base) -> None:
        """Change ``config``, which is as ``base``. Raises RecipeError."""
        for index, override in enumerate(overrides):
            if self._is_value(override):
                try:
                    # Private: Hydra (1.3) has no other way to apply one to what is composed.
                    ConfigLoaderImpl._apply_overrides_to_config([override], config)
                except (HydraException, OmegaConfBaseException, ValueError, TypeError) as error:
                    # The last two are OmegaConf's (2.3) for a name where a list wants a number.
                    # It may have been changed in part: look at what was there before.
                    before = self.changed(base, overrides[:index])
                    raise RecipeError(self._why_not(override, before, error)) from error

    def check(self) -> None:
        """Raises RecipeError for an override that does not fit; nothing is resolved."""
        self.refuse_sweeps()
        self.changed(self.master(multirun=False), self.fixed())

    def batch(
        self,
        jobs: Sequence[Sequence[str]],
        varying: Sequence[Mapping[str, str]],
        *,
        first: int,
        whole: bool,
    ) -> list[Job | InvalidJob]:
        """Compose jobs, each given by its overrides and what of them varies. ``whole``: they are
        all of the request.

        Raises RecipeError for a single job; of several, those that are wrong are `InvalidJob`.
        """
        numbered = enumerate(zip(jobs, varying, strict=True), first)
        compose = self._job if len(jobs) == 1 else self._tried
        composed = [compose(number, varied, overrides) for number, (overrides, varied) in numbered]
        if not whole:
            return composed
        texts = dict.fromkeys(text for job in jobs for text in job)
        witnesses = self.loader.trail.witnesses([*self.hydra, *texts])
        return [
            dataclasses.replace(job, witnesses=witnesses) if isinstance(job, Job) else job
            for job in composed
        ]

    def _tried(
        self, number: int, varying: Mapping[str, str], overrides: Sequence[str]
    ) -> Job | InvalidJob:
        try:
            return self._job(number, varying, overrides)
        except RecipeError as error:
            return InvalidJob(tuple(overrides), error)

    def _job(self, number: int, varying: Mapping[str, str], overrides: Sequence[str]) -> Job:
        parsed = [self.parse(text) for text in overrides]
        base = self._base(self._groups_of(parsed))
        values = [override for override in parsed if self._is_value(override)]

        raw, links = with_scalars(base.raw, values), base.references
        if raw is None:
            raw = plain(self.changed(base, values))
            check_expansion(raw, shown(str(self.file)))
            links = references(raw)
        whole = functools.cache(lambda: self._whole(number, parsed, ask_hydra=links.ask_hydra))
        given = tuple(self.own.as_given(str(override.input_line)) for override in values)
        origins = Origins(str(self.file), base.layers, given)
        return Job(
            number=number,
            varying=varying,
            overrides=tuple(overrides),
            config=resolve(raw, lambda path: ask(whole(), path, raw, origins)),
            aliases=links.aliases,
            used=links.used,
            origins=origins,
            witnesses=None,
            environment=from_environment(raw) if "oc.env" in links.resolvers else {},
        )

    def _is_value(self, override: Override) -> bool:
        """True if it leaves the defaults list alone (defaults_list.py: Overrides.__init__)."""
        if override.is_hydra_override():
            return False
        return not self.is_group(override.key_or_group) or isinstance(override.value(), dict)

    def is_group(self, name: str) -> bool:
        """True if there is a config group of that name."""
        if name not in self._groups:
            self._groups[name] = self._repository.group_exists(name)
        return self._groups[name]

    def _groups_of(self, overrides: Sequence[Override]) -> tuple[str, ...]:
        groups = [override for override in overrides if not self._is_value(override)]
        for override in groups:
            self._check_group(override)
        return tuple(str(override.input_line) for override in groups)

    def _check_group(self, override: Override) -> None:
        fits = isinstance(override.value(), (str, list)) and not override.is_force_add()
        if not (fits or override.is_delete() or override.is_hydra_override()):
            group = override.key_or_group
            message = messages.not_a_group_option(
                str(override.input_line), group, self._options(group)
            )
            raise RecipeError(message)

    def _base(self, groups: tuple[str, ...], mode: RunMode = RunMode.RUN) -> Base:
        key = (mode.name, *groups)
        if key not in self._bases:
            overrides = [*self.hydra, *groups]
            with our_errors(
                self.file, overrides=overrides, options=self._options, groups=self._group_names
            ):
                config = self.loader.load_configuration(
                    self.file.stem, overrides, mode, validate_sweep_overrides=False
                )
                task = OmegaConf.masked_copy(config, [str(k) for k in config if k != "hydra"])
            # OmegaConf's masked_copy (2.3) loses the flag by which an unknown field is refused.
            OmegaConf.set_struct(task, True)
            raw = plain(task)
            check_expansion(raw, shown(str(self.file)))
            layers = self.loader.layers
            self._bases[key] = Base(config, pickle.dumps(task), raw, references(raw), layers)
        return self._bases[key]

    def _whole(self, number: int, overrides: Sequence[Override], *, ask_hydra: bool) -> DictConfig:
        """A job as OmegaConf has it; by Hydra alone if it refers to Hydra's own fields."""
        if not ask_hydra:
            return self.changed(self._base(self._groups_of(overrides)), overrides)
        texts = [*self.hydra, *(str(override.input_line) for override in overrides)]
        with our_errors(self.file):
            config = self.loader.load_configuration(self.file.stem, texts, RunMode.RUN)
        # Only Hydra's own launchers (1.3) set these, and recipes may refer to them.
        with open_dict(config):
            config.hydra.job.num = number
            config.hydra.job.id = str(number)
        HydraConfig.instance().set_config(config)
        return config

    def _options(self, group: str) -> Sequence[str]:
        return self._repository.get_group_options(group)

    def _group_names(self) -> list[str]:
        names = self._repository.get_group_options("", ObjectType.GROUP)
        return [name for name in names if self._options(name) and name != "hydra"]

    def _why_not(self, override: Override, config: DictConfig, error: Exception) -> str:
        text, field = str(override.input_line), override.key_or_group
        if override.package is not None:
            return messages.no_such_group(text, field, self._group_names())
        groups = self._group_names()
        if unknown := messages.unknown_field(text, field, config=plain(config), groups=groups):
            return unknown
        if override.is_add():
            return messages.exists_already(text, field)
        reason = messages.condensed(str(error.__cause__ or error))
        if absent := re.match(r"Key '(.*)' is not in struct", reason):
            fields = OmegaConf.select(config, field)
            return messages.unknown_key(text, field, absent[1], fields=[str(key) for key in fields])
        return f"the override {text!r} cannot be applied: {reason}"
