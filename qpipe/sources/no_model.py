"""What is given as a model and is none: files by their names and first bytes, folders by what lies
in them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath

from qpipe.core.key import Json
from qpipe.errors import SourceError
from qpipe.sources import model_files
from qpipe.sources.hub_source import parse_hub
from qpipe.sources.local_files import holds_tasks
from qpipe.support.file_kinds import GGUF, kind_of
from qpipe.support.files import is_file, is_folder

ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.xz", ".tar.zst", ".tar.bz2", ".7z", ".rar")
KINDS: Mapping[str, str] = {
    ".safetensors": "weights without their config.json: give the folder or repository of the whole "
    "checkpoint (s3://…/, OWNER/NAME)",
    ".bin": "a pickle: convert it to safetensors first",
    ".pt": "a pickle: convert it to safetensors first",
    ".pth": "a pickle: convert it to safetensors first",
    ".onnx": "a model as ONNX: give the checkpoint that it was exported from",
    ".h5": "a model of TensorFlow's: give the checkpoint as safetensors",
}
"""By their ends, files that are no model by themselves: what each is, and what to give instead."""

_OF_CHECKPOINTS = (".json", ".jinja", ".model", ".py")
_WAY = (
    "give a checkpoint's folder (config.json and safetensors), a GGUF file, or OWNER/NAME on the "
    "hub"
)


def is_archive(name: str) -> bool:
    """True if a file is an archive by its name."""
    return name.lower().endswith(ARCHIVES)


def require_model(shown: str, path: Path | None) -> None:
    """Raise SourceError for a source ``shown``, which is at ``path`` here, if it is plainly no
    model; without a path it is somewhere else, and its name alone is looked at."""
    if path is None:
        _require_name(shown)
    elif is_file(path):
        if not _is_model(path.name):
            raise SourceError(f"{shown}: is {_kind(path.name, path)}")
    elif is_folder(path):
        _require_in_folder(shown, path)


def require_among(shown: str, names: Collection[str], *, beside: Collection[str] = ()) -> None:
    """Raise SourceError if none of the files ``names`` that are taken of a source has a model's
    weights; ``beside`` are all that there are."""
    from qpipe.gguf import no_weights

    if not any(map(_is_model, names)):
        raise SourceError(f"{shown}: {no_weights.instead(beside or names)}")


def require_fetched(params: Mapping[str, Json], where: Mapping[str, Json]) -> None:
    """Raise SourceError if a source at an address, pinned so, has no model among its files."""
    if isinstance(files := params.get("files"), Mapping):
        require_among(str(where["address"]), [*files])


def _is_model(name: str) -> bool:
    return name.endswith(".gguf") or model_files.names_weights(name)


def _require_in_folder(shown: str, folder: Path) -> None:
    from qpipe.gguf import no_weights

    names = [path.name for path in folder.iterdir()]
    weights = sorted(name for name in names if model_files.names_weights(name))
    if not holds_tasks(folder):
        if any(map(_is_model, names)) or no_weights.is_known(names):
            return  # what is wrong with it, `selected_files` says
    elif weights:
        model_files.require_config(shown, names, weights[0])
    raise SourceError(f"{shown}: {no_weights.instead(names)}")


def _require_name(source: str) -> None:
    hub = parse_hub(source, None)
    name = None if hub is None or hub.kind != "model" else hub.file
    if hub is None and source.startswith(("https://", "http://")):
        from urllib.parse import unquote, urlsplit

        name = unquote(PurePosixPath(urlsplit(source).path).name)
    if name and not _is_model(PurePosixPath(name).name):
        from qpipe.support.addresses import without_secrets

        raise SourceError(f"{without_secrets(source)}: is {_kind(name, None)}")


def _kind(name: str, path: Path | None) -> str:
    """A file that is no model, in words: what it is, and what to give instead."""
    content = None if path is None else kind_of(path, SourceError)
    if content == GGUF:
        return f"{GGUF}: give it a name that ends in .gguf (ln -s FILE m.gguf)"
    suffix = PurePosixPath(name.lower()).suffix
    if (kind := KINDS.get(suffix)) is not None:
        return kind
    if is_archive(name):
        return "an archive: unpack it, and give the folder or the file inside"
    if suffix in _OF_CHECKPOINTS:
        return "a file without weights, as one of a checkpoint: give the folder that it lies in"
    return f"no model: {_WAY}" if content is None else f"{content}, and no model: {_WAY}"
