"""Composed configurations and what is done with them: copied, changed by scalars, asked."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from hydra.core.override_parser.types import Override, OverrideType
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from qpipe.errors import RecipeError
from qpipe.recipe import messages
from qpipe.recipe.origins import Layer, Origins
from qpipe.recipe.references import References, replaced


@dataclass(frozen=True)
class Base:
    """A composition by Hydra that jobs share: with Hydra's node, pickled without it, and as data.

    Unpickling is seven times as fast as OmegaConf's deepcopy (2.3).
    """

    config: DictConfig
    task: bytes
    raw: Mapping[str, Any]
    references: References
    layers: tuple[Layer, ...]

    def copy(self) -> DictConfig:
        """A fresh copy, without Hydra's node."""
        task: DictConfig = pickle.loads(self.task)
        return task

    @property
    def is_sweep(self) -> bool:
        """True if the recipe says of itself that it is a sweep."""
        return bool(self.config.hydra.mode == RunMode.MULTIRUN)


def plain(config: DictConfig) -> dict[str, Any]:
    """A configuration as plain data, its interpolations as written."""
    data = OmegaConf.to_container(config, resolve=False)
    assert isinstance(data, dict)
    return cast("dict[str, Any]", data)


def with_scalars(raw: Mapping[str, Any], overrides: Sequence[Override]) -> Mapping[str, Any] | None:
    """``raw`` with overrides that each put a scalar in the place of another; None for all others.

    This is what nearly every sweep does, and needs no OmegaConf.
    """
    changed: Mapping[str, Any] | None = raw
    for override in overrides:
        value = override.value()
        if (
            changed is None
            or override.type != OverrideType.CHANGE
            or override.package is not None
            or not re.fullmatch(r"\w+(\.\w+)*", override.key_or_group)
            or not (value is None or isinstance(value, (bool, int, float, str)))
            or (isinstance(value, str) and "${" in value)
        ):
            return None
        changed = replaced(changed, override.key_or_group.split("."), value)
    return changed


def ask(
    config: DictConfig, path: Sequence[str | int], raw: Mapping[str, Any], origins: Origins
) -> Any:
    """The value at ``path`` as OmegaConf resolves it, as plain data. Raises RecipeError."""
    field = ".".join(map(str, path))
    node: Any = config
    try:
        for part in path:
            node = node[part]
        if OmegaConf.is_config(node):
            return OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
        return node
    except MissingMandatoryValue as error:
        raise RecipeError(_missing(field, raw, origins)) from error
    except (OmegaConfBaseException, RecursionError) as error:
        # Reached through an interpolation, a missing value is an error of another class (OmegaConf
        # 2.3: InterpolationToMissingValueError).
        if missing := re.search(r"Missing mandatory value: (\S+)", str(error)):
            raise RecipeError(_missing(missing[1], raw, origins)) from error
        message = messages.bad_interpolation(field, str(error), config=raw, origins=origins)
        raise RecipeError(message) from error


def _missing(field: str, raw: Mapping[str, Any], origins: Origins) -> str:
    """A field without a value, and those that there are not: one of them may be meant for it."""
    from qpipe.recipe.checking import unknown_fields  # pydantic, which composing does without

    return "\n".join([messages.missing_value(field, origins), *unknown_fields(raw, origins)])
