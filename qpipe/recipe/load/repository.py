"""Hydra's reading of recipe files, with a trail of what was read and a check of what it holds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, IConfigRepository
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.default_element import ResultDefault
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from qpipe.errors import RecipeError
from qpipe.recipe import messages
from qpipe.recipe.bounds import check_file
from qpipe.recipe.origins import Layer, Origins, line_of, shown
from qpipe.recipe.references import targets
from qpipe.recipe.witnesses import Trail


def is_users(provider: str) -> bool:
    """True if a search path entry holds recipes; the others are Hydra's and its plugins'."""
    return provider in ("main", "qpipe") or provider.startswith("hydra.searchpath")


class Repository(CachingConfigRepository):
    """Hydra's view of the search path, leaving a trail and refusing what a recipe may not hold."""

    def __init__(self, delegate: IConfigRepository, trail: Trail, trusted: set[str]) -> None:
        super().__init__(delegate)
        self.trail = trail
        self.trusted = trusted

    def initialize_sources(self, config_search_path: ConfigSearchPath) -> None:
        """Take over a search path. Raises RecipeError for an entry that is no folder: Hydra imports
        packages (``pkg://``) and modules (``structured://``) to search them, which runs code."""
        for entry in config_search_path.get_path():
            path, provider = str(entry.path), str(entry.provider)
            # Hydra 1.3 imports what stands behind `pkg://` and `structured://`.
            if provider.startswith("hydra.searchpath") and re.match(r"(?!file://)\w+:", path):
                raise RecipeError(messages.not_a_folder(path))
        super().initialize_sources(config_search_path)

    def _roots(self) -> list[Path]:
        users = [source for source in self.get_sources() if is_users(source.provider)]
        return [Path(source.path).resolve() for source in users]

    def load_config(self, config_path: str) -> ConfigResult | None:
        """Raises RecipeError for a file that OmegaConf refuses or that names a ``_target_``."""
        if f"config_path={config_path}" not in self.cache:
            self.trail.file(_yaml(config_path), self._roots())
            self._check_size(config_path)
        try:
            result = super().load_config(config_path)
        except (OmegaConfBaseException, UnicodeDecodeError, OSError) as error:
            paths = [str(root / _yaml(config_path)) for root in self._roots()]
            path = next((path for path in paths if Path(path).is_file()), config_path)
            field = str(getattr(error, "full_key", None) or "")
            where = Origins(path, [Layer(path)]).origin(field) if field else shown(path)
            raise RecipeError(f"{where}: {messages.condensed(str(error))}") from error
        if result is not None:
            self._check_targets(result, config_path)
        return result

    def _check_size(self, config_path: str) -> None:
        files = (root / _yaml(config_path) for root in self._roots())
        file = next((file for file in files if file.is_file()), None)
        if file is not None:
            check_file(file)

    def _check_targets(self, result: ConfigResult, config_path: str) -> None:
        named = targets(OmegaConf.to_container(result.config, resolve=False))
        if not is_users(result.provider):
            self.trusted.update(named)
        elif named:
            path = _file_of(result, config_path)
            raise RecipeError(messages.holds_target(line_of(path, "_target_")))

    def group_exists(self, config_path: str) -> bool:
        """True if there is such a group."""
        self.trail.folder(config_path, self._roots())
        return super().group_exists(config_path)

    def config_exists(self, config_path: str) -> bool:
        """True if there is such a file."""
        self.trail.file(_yaml(config_path), self._roots())
        return super().config_exists(config_path)

    def get_group_options(
        self, group_name: str, results_filter: ObjectType | None = ObjectType.CONFIG
    ) -> list[str]:
        """The names of a group's options."""
        self.trail.listing(group_name, self._roots())
        return super().get_group_options(group_name, results_filter)


def _yaml(config_path: str) -> str:
    # Private in Hydra 1.3, whose rule it is which names lack `.yaml`.
    return ConfigSource._normalize_file_name(config_path)


def _file_of(result: ConfigResult, config_path: str) -> str:
    return str(Path(result.path.removeprefix("file://")) / _yaml(config_path))


class RecipeLoader(ConfigLoaderImpl):
    """Hydra's loader. ``layers`` are the recipe files of the latest composition; ``trusted`` are
    the classes that Hydra and its plugins, not recipes, name for themselves."""

    def __init__(self, search_path: ConfigSearchPath) -> None:
        super().__init__(config_search_path=search_path)
        self.trail = Trail()
        self.trusted: set[str] = set()
        self.layers: tuple[Layer, ...] = ()

    def open(self, config_name: str, overrides: Sequence[str]) -> Repository:
        """The search path as these overrides, and the recipe itself, extend it."""
        _, repository = self._parse_overrides_and_create_caching_repo(config_name, list(overrides))
        return repository

    def _parse_overrides_and_create_caching_repo(
        self, config_name: str | None, overrides: list[str]
    ) -> tuple[list[Override], Repository]:
        parsed = OverridesParser.create().parse_overrides(overrides)
        repository = Repository(self.repository, self.trail, self.trusted)
        self._process_config_searchpath(config_name, parsed, repository)
        return parsed, repository

    def _compose_config_from_defaults_list(
        self, defaults: list[ResultDefault], repo: IConfigRepository
    ) -> DictConfig:
        layers = []
        for default in defaults:
            assert default.config_path is not None
            result = repo.load_config(default.config_path)
            if result is not None and is_users(result.provider):
                package = default.package or result.header["package"] or ""
                package = "" if package == "_global_" else package
                layers.append(Layer(_file_of(result, default.config_path), package))
        self.layers = tuple(layers)
        return super()._compose_config_from_defaults_list(defaults, repo)
