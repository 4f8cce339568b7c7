"""The model that an estimate is about, from whatever names it; at most its config.json and its
tokenizer are fetched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qpipe.errors import UsageError, nearest
from qpipe.sizes.known import entries, shapes
from qpipe.sizes.source import ModelSource
from qpipe.sizes.tensors import is_known
from qpipe.support.files import exists, expanded, is_file, is_folder

if TYPE_CHECKING:
    from qpipe.sources.hub_source import HubSource

_CONFIG = "config.json"
_BUILTIN = "builtin:"
_YAML = (".yaml", ".yml")


@dataclass(frozen=True)
class EstimatedModel:
    """A model by its ``name``: the fields of its config.json, that file, or a GGUF file
    (``is_gguf``), as `qpipe.sizes.predict` and `qpipe.memory.memory` take them. ``notes`` say where
    they are from."""

    name: str
    config: Mapping[str, Any] | Path
    notes: tuple[str, ...] = ()

    @property
    def is_gguf(self) -> bool:
        """True of a GGUF file, whose header is all that is known."""
        return isinstance(self.config, Path) and self.config.suffix == ".gguf"


def find(model: str) -> EstimatedModel:
    """The model that ``model`` names: a config.json, a folder, a GGUF file, ``builtin:NAME``, the
    name of a model whose shapes are known, a recipe, or a repository on the hub.

    Raises UsageError for a name that is none of these, SourceError for a repository that cannot be
    had, CheckpointError for a folder that holds no model.
    """
    if not model:
        raise UsageError("which model? As in `qpipe estimate OWNER/NAME --gpu 24GB`")
    if model.endswith(_YAML) and is_recipe(model):
        return _of_recipe(model)
    if model.startswith(_BUILTIN) or exists(expanded(model)):
        return _here(model)
    fields = shapes(model)
    if fields is not None:
        return EstimatedModel(model, fields, (f"shapes of {model}, as they come with qpipe",))
    full = _by_last_part(model)
    if full is not None:
        return find(full)
    if is_recipe(model):
        return _of_recipe(model)
    from qpipe.sources.hub_source import parse_hub

    source = parse_hub(model, None) if "/" in model else None
    if source is not None and source.kind == "model" and not model.startswith((".", "/", "~")):
        return _on_hub(source)
    raise UsageError(_unknown(model))


def _unknown(model: str) -> str:
    from qpipe.recipe.request import recipe_names

    if "/" in model or model.endswith((".json", ".gguf", ".safetensors")):
        return f"{model}: no such file or folder, and no repository's name (OWNER/NAME)"
    names = [*(name.rpartition("/")[2] for name in entries()), *recipe_names()]
    return (
        f"{model}: no file, folder, recipe or known model has this name; "
        f"{nearest(model.lower(), dict.fromkeys(names))} A config.json, a folder, a GGUF file or a "
        "repository's name (OWNER/NAME) will do as well"
    )


def _by_last_part(model: str) -> str | None:
    """The whole name of a known model by the part after its owner's."""
    wanted = model.lower()
    known = entries()
    full = next((name for name in known if name.rpartition("/")[2] == wanted), None)
    if full is None:
        return None
    return next(str(name) for name in known[full]["models"] if name.lower() == full)


def is_recipe(name: str) -> bool:
    """True of a shipped recipe's name, and of a recipe's file."""
    if name.endswith(_YAML):
        return is_file(expanded(name))
    from qpipe.recipe.request import recipe_names

    return "/" not in name and name in recipe_names()


def _of_recipe(name: str) -> EstimatedModel:
    """The model that a recipe names. Raises UsageError for one that names none, RecipeError for
    what cannot be read as one."""
    import yaml

    from qpipe.recipe.bounds import check_file
    from qpipe.recipe.request import find_recipe

    file = find_recipe(name)
    check_file(file)
    try:
        recipe = yaml.safe_load(file.read_bytes())
    except (yaml.YAMLError, ValueError) as error:
        raise UsageError(f"{name}: this is no YAML: {error}") from None
    model = recipe.get("model") if isinstance(recipe, dict) else None
    source = model.get("source") if isinstance(model, dict) else None
    if not isinstance(source, str) or source == name:
        raise UsageError(
            f"{name}: this recipe leaves its model open (model.source): name the model itself"
        )
    return find(source)


def _here(model: str) -> EstimatedModel:
    from qpipe.session.functions import local_path

    path = local_path(model)
    if not is_folder(path):
        return EstimatedModel(model, path)
    config = path / _CONFIG
    if exists(config):
        return EstimatedModel(model, config)
    from qpipe.gguf.split import only_model

    return EstimatedModel(model, only_model(path) or config)


def _on_hub(source: HubSource) -> EstimatedModel:
    """Fetch config.json and the tokenizer's files of a repository, and of a GGUF file its header;
    of a model of no known class the headers of its weights too."""
    from qpipe.sources import hub_headers, small_files

    if source.is_gguf:
        commit, file = hub_headers.gguf(source)
        name = f"{source.repo}:{source.type or source.file}"
        return EstimatedModel(name, file, (f"header of {file.name} at {commit[:12]}",))
    if source.file is not None:
        raise UsageError(
            f"{source.label}: of a repository config.json is read, or the header of a GGUF file, "
            f"and {source.file} is neither: name the repository alone"
        )
    commit, folder = small_files.fetch(source)
    note = f"config.json and tokenizer of {source.repo} at {commit[:12]}"
    if not is_known(ModelSource.of(folder / small_files.CONFIG).config):
        folder = hub_headers.checkpoint(replace(source, revision=commit), folder)
    return EstimatedModel(source.repo, folder / small_files.CONFIG, (note,))
