"""What a command asks of recipes, and what composing answers: plain data, no Hydra needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qpipe.errors import RecipeError, nearest
from qpipe.support.files import exists, expanded, is_file, is_folder

if TYPE_CHECKING:
    from qpipe.recipe.draft import GuideDraft
    from qpipe.recipe.origins import Origins
    from qpipe.recipe.witnesses import Witnesses

_BASE = "config"


@dataclass(frozen=True)
class Request:
    """A recipe (a name under recipes/, or a path to a YAML file) and what the user adds to it.

    ``flags`` are Hydra's own, such as ``("--cfg", "job")``; with them nothing is handed on.
    ``alone``: it is one job, even where the recipe says that it is a sweep.
    """

    recipe: str
    overrides: tuple[str, ...] = ()
    multirun: bool = False
    flags: tuple[str, ...] = ()
    alone: bool = False


@dataclass(frozen=True)
class Job:
    """One composed job.

    ``varying`` is what sets it apart in its sweep, by setting ("type": "Q4_0"), empty for a single
    run. ``config`` is resolved plain data. ``aliases`` maps each field whose whole value is
    one interpolation to the field that it refers to; ``used`` are all fields that any refers to;
    ``environment`` are the variables that fields hang on (`references.from_environment`).
    ``witnesses`` are None if the batch must be composed anew each time. ``guide`` is what the sweep
    that it is of looks for, if that is guided.
    """

    number: int
    varying: Mapping[str, str]
    overrides: tuple[str, ...]
    config: Mapping[str, Any]
    aliases: Mapping[str, str]
    used: frozenset[str]
    origins: Origins
    witnesses: Witnesses | None
    environment: Mapping[str, frozenset[str]] = field(default_factory=dict)
    guide: GuideDraft | None = None


@dataclass(frozen=True)
class InvalidJob:
    """A job of a sweep that cannot be composed; ``error`` says why."""

    overrides: tuple[str, ...]
    error: RecipeError


def shipped_recipes() -> Path:
    """The folder of the recipes that come with qpipe: inside the wheel, or beside a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "recipes"
    return inside if inside.is_dir() else package.parent / "recipes"


def recipe_names() -> list[str]:
    """The shipped recipes, as `qpipe run` takes them."""
    root = shipped_recipes()
    names = (path.relative_to(root).with_suffix("").as_posix() for path in root.glob("*.yaml"))
    return sorted(name for name in names if name != _BASE)


def find_recipe(recipe: str) -> Path:
    """The YAML file of a recipe. Raises RecipeError if there is none."""
    path = expanded(recipe)
    if path.suffix == ".yml":
        raise RecipeError(f"{recipe}: recipes end in .yaml; rename it")
    if path.suffix == ".yaml":
        return _existing(path)
    if recipe in recipe_names():
        return shipped_recipes() / f"{recipe}.yaml"
    here = path.with_name(f"{path.name}.yaml") if path.name else path
    hint = f"For the file in this folder write {here}" if is_file(here) else ""
    raise RecipeError(
        f"there is no recipe {recipe!r}; {nearest(recipe, recipe_names())} {hint or _OR_PATH}"
    )


_OR_PATH = "A recipe of your own is given by the path of its YAML file"


def _existing(path: Path) -> Path:
    if is_file(path):
        return path.resolve()
    if is_folder(path):
        raise RecipeError(f"{path}: this is a folder; a recipe is a YAML file")
    if exists(path):
        raise RecipeError(f"{path}: this is a pipe or a device; a recipe is a YAML file")
    folder = path.parent
    if not is_folder(folder):
        raise RecipeError(f"{path}: there is no folder {folder}")
    beside = [other.name for other in folder.glob("*.yaml")]
    raise RecipeError(f"{path}: there is no such recipe file; {nearest(path.name, beside)}")
