"""Which files of a folder, or of a repository, are brought into the store as one model.

Nothing else is fetched or linked: other layouts of the same weights, adapters, older parts.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Collection
from pathlib import Path

from qpipe.core.layout import MANIFEST
from qpipe.errors import SourceError
from qpipe.sources import gguf_types, pickle_names
from qpipe.support.files import open_file

# The parts of a checkpoint that mean something to us.
PATTERNS = ("*.safetensors", "*.json", "*.model", "*.txt", "*.jinja", "LICENSE*", "README.md")
# Of these, what no stage reads: indexes of weights in other forms, and the record of a training.
_UNREAD = ("*.bin.index*.json", "*.msgpack.index*.json", "*.h5.index*.json", "trainer_state.json")
# Where transformers 5 saves chat templates but the default one.
TEMPLATES = "additional_chat_templates"

# The model card. What is read of it is the metadata in front, and none of its prose: that is left
# out of what a checkpoint is pinned by, and may change. Ends of lines and of the metadata are found
# as gguf's Metadata.load_model_card (0.19.0) finds them.
CARD = "README.md"
_MARK = "---"
# Bytes of a card that are looked at: the largest on the hub have some 100 kB of metadata.
_MOST = 1 << 20

ReadFile = Callable[[str], bytes]
"""The bytes of a file by its name."""


def selected_files(
    label: str,
    names: Collection[str],
    read: ReadFile,
    *,
    beside: Collection[str] = (),
    repo: str | None = None,
    weights: str | None = None,
) -> list[str]:
    """Files of ``names`` that make up the one model, in order; none if no file means anything.

    ``label`` names the folder, or the repository ``repo``; ``beside`` are its folders, by which a
    folder that is no model may be known. ``weights`` is a file of the set of weights that is
    meant, or its index, where there may be several. Raises SourceError for a model without weights
    that can be read, with two sets of them, and for several GGUF models.
    """
    if weights is not None:
        return _with_weights(label, names, read, weights)
    return _found(label, names, read, beside, repo)


def _with_weights(label: str, names: Collection[str], read: ReadFile, weights: str) -> list[str]:
    """The files of a checkpoint with the set of weights that one of its files names."""
    from qpipe.gguf import weight_files

    if weights not in names:
        raise SourceError(f"{label}: holds no file {weights}")
    require_config(label, names, weights)
    if pickle_names.is_pickled(weights):
        plain = [n for n in names if _is_selected(n) and not weight_files.are_named(n)]
        return sorted([*plain, *pickle_names.named(names)])
    listed = _listed(names, read, weights) if weight_files.is_index(weights) else None
    try:
        chosen = weight_files.named(weights, names, listed)
    except weight_files.IncompleteError as error:
        missing, count = error.args
        raise SourceError(
            f"{label}: {weights} is one of {count} files, and {missing} is missing"
        ) from None
    others = {name for name in names if weight_files.are_named(name)} - {*chosen}
    return sorted(name for name in names if _is_selected(name) and name not in others)


def require_config(label: str, names: Collection[str], weights: str) -> None:
    """Raise SourceError for the file ``weights`` of a checkpoint without config.json."""
    if "config.json" not in names:
        raise SourceError(
            f"{label}: {weights} has no config.json beside it, without which weights are no model: "
            "give the folder or the repository of the whole checkpoint"
        )


def _found(
    label: str,
    names: Collection[str],
    read: ReadFile,
    beside: Collection[str],
    repo: str | None,
) -> list[str]:
    from qpipe.gguf import no_weights, weight_files

    candidates = sorted(name for name in names if _is_selected(name))
    models = gguf_models(names)
    try:
        weights = weight_files.weights(names, _listed(names, read, weight_files.INDEX))
    except weight_files.AmbiguousError as error:
        raise SourceError(f"{label}: {error}") from None
    except weight_files.IncompleteError:
        return candidates  # what is missing, the stage that needs it says
    others = [name for name in candidates if name.endswith(".safetensors") and not _is_model(name)]
    if models and not weights:
        return _the_one(label, models, repo)
    everything = [*names, *beside]
    if not weights and not others and (no_weights.is_known(everything) or not everything):
        raise SourceError(f"{label}: {no_weights.instead(everything)}")
    if weights:
        require_config(label, names, sorted(weights)[0])
    unread = {name for name in candidates if name.endswith(".safetensors")} - {*weights, *others}
    return [name for name in candidates if name not in unread]


def passed_over(label: str, names: Collection[str], chosen: Collection[str]) -> list[str]:
    """A note of weights beside the model's that one may think are taken, and are not."""
    others = sorted(
        name
        for name in names
        if name not in chosen
        and (
            _is_model(name)
            or fnmatch.fnmatch(name, "adapter_model*.safetensors")
            or gguf_types.is_model(name)
        )
    )
    if not others or not any(name.endswith(".safetensors") for name in chosen):
        return []
    shown = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if others[3:] else "")
    return [f"{label}: left out, as no part of the model: {shown}"]


def names_weights(name: str) -> bool:
    """True if a file of a checkpoint stands for the checkpoint with these weights."""
    from qpipe.gguf import weight_files

    return weight_files.are_named(name) or pickle_names.is_pickled(name)


def place(file: Path) -> str:
    """The name of a file inside its checkpoint: that of a further chat template has its folder."""
    return f"{TEMPLATES}/{file.name}" if file.parent.name == TEMPLATES else file.name


def _is_selected(name: str) -> bool:
    from qpipe.gguf import weight_files

    folder, _, own = name.rpartition("/")
    if folder:
        return folder == TEMPLATES and own.endswith(".jinja")
    matches = any(fnmatch.fnmatch(name, pattern) for pattern in PATTERNS)
    unread = name == MANIFEST or any(fnmatch.fnmatch(name, pattern) for pattern in _UNREAD)
    return matches and not unread and not weight_files.is_beside(name)


def _is_model(name: str) -> bool:
    return fnmatch.fnmatch(name, "model*.safetensors")


def _listed(names: Collection[str], read: ReadFile, index: str) -> set[str] | None:
    """The files that an index names, None if there is none or it cannot be used."""
    from qpipe.gguf import jsonfile

    if index not in names:
        return None
    try:
        weight_map = jsonfile.parse(read(index)).get("weight_map")
    except ValueError:
        return None  # what is wrong with it, the stage that needs it says
    if not isinstance(weight_map, dict):
        return None
    return {str(file) for file in weight_map.values()}.intersection(names)


def gguf_models(names: Collection[str]) -> dict[str, list[str]]:
    """The GGUF models among ``names``, each with its files, by the name of the first."""
    if not any(map(gguf_types.is_model, names)):
        return {}  # importing numpy takes a while
    from qpipe.gguf import split

    models: dict[tuple[str, int], list[str]] = {}
    for name in sorted(names):
        if gguf_types.is_model(name):
            part = split.named(name)
            key = (name, 1) if part is None else (part.stem, part.count)
            models.setdefault(key, []).append(name)
    return {files[0]: files for files in models.values()}


def _the_one(label: str, models: dict[str, list[str]], repo: str | None) -> list[str]:
    if len(models) > 1:
        listed = gguf_types.listed([*models])
        way = "give the file of one of them"
        if repo is not None:
            types = gguf_types.by_type(models)
            once = [kind for kind, files in types.items() if len(files) == 1]
            way = f"name a file, model.source={repo}/FILE"
            if once:
                listed = gguf_types.listed([*types])
                way = f"name a type, as model.source={repo}:{once[0]}, or a file, as {repo}/FILE"
        raise SourceError(f"{label}: holds {len(models)} GGUF models ({listed}); {way}")
    ((first, files),) = models.items()
    return all_parts(label, first, files)


def all_parts(label: str, name: str, names: Collection[str]) -> list[str]:
    """The files of the GGUF model that ``name`` is, or is a part of, from those in its folder.

    Raises SourceError for a part that is missing.
    """
    from qpipe.gguf import split

    part = split.named(name)
    if part is None:
        return [name]
    if missing := [other for other in part.all_names() if other not in names]:
        raise SourceError(
            f"{label}: {name} is one of the {part.count} files of a model, and {missing[0]} is "
            "missing: give all of them in one folder"
        )
    return part.all_names()


def card_metadata(path: Path) -> bytes | None:
    """The metadata of the card ``path`` between its marks, None if it has none.

    Raises SourceError for a card that cannot be read, or whose metadata has no end.
    """
    with open_file(path, SourceError) as file:
        data = file.read(_MOST + 1)
    lines = data.decode("utf-8", "surrogateescape").splitlines()
    if not lines or lines[0] != _MARK:
        return None
    try:
        end = lines.index(_MARK, 1)
    except ValueError:
        if len(data) > _MOST:
            raise SourceError(
                f"{path}: the metadata in front of this model card has no end ({_MARK}) within "
                f"{_MOST} bytes; correct or remove the file"
            ) from None
        end = len(lines)
    return "\n".join([*lines[:end], _MARK, ""]).encode("utf-8", "surrogateescape")
