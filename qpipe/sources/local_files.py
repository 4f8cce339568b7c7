"""Which files a local source comes to."""

from __future__ import annotations

import fnmatch
from pathlib import Path

from qpipe.errors import SourceError
from qpipe.sources import model_files, pickle_names
from qpipe.support.files import exists, is_file, open_file, read_file

# The parts of a folder of lm-eval tasks, at any depth.
TASK_FILES = ("*.yaml", "*.json", "*.jsonl", "*.csv", "*.tsv", "*.txt", "*.parquet", "*.py", "*.md")

# Bytes of an index at most (of 1,000,000 tensors), and of a pointer of git LFS.
INDEX_BYTES, _POINTER_BYTES = 200 << 20, 1024


def pickles_of(path: Path) -> Path:
    """The file that stands for the pickles of a folder whose weights are these alone; any other
    path as it is."""
    if not path.is_dir() or holds_tasks(path):
        return path
    file = pickle_names.standing_for([each.name for each in path.iterdir() if is_file(each)])
    return path if file is None else path / file


def checkpoint_of(path: Path) -> Path:
    """The folder of the checkpoint whose weights ``path`` names; of any other path itself."""
    return path.parent if model_files.names_weights(path.name) and is_file(path) else path


def files_of(path: Path) -> list[Path]:
    """The files that a local source comes to, in order: of a GGUF file all its parts, of a folder
    those that mean something to us, and so of a file with a checkpoint's weights.

    Of a checkpoint those of the folder itself, and its further chat templates. A folder with *.yaml
    and no config.json is one of tasks: all of them and their data, below it too, but for what is
    hidden or compiled. Raises SourceError for a model that cannot be read.
    """
    folder = checkpoint_of(path)
    if folder != path:
        return _of_folder(folder, path.name)
    if path.is_file():
        if path.suffix == ".gguf" and _is_pointer(path):
            raise _is_pointers(path.parent, [path.name])
        beside = [other.name for other in path.parent.glob("*.gguf")]
        names = model_files.all_parts(str(path), path.name, beside)
        return [path.parent / name for name in names]
    return _of_folder(path, None)


def _of_folder(folder: Path, weights: str | None) -> list[Path]:
    if weights is None and holds_tasks(folder):
        return sorted(path for path in folder.rglob("*") if _is_of_tasks(path, folder))
    names = [path.name for path in folder.iterdir() if is_file(path)]
    _refuse_lost_links(folder)
    templates = [path for path in (folder / model_files.TEMPLATES).glob("*.jinja") if is_file(path)]
    names += map(model_files.place, templates)

    def read(name: str) -> bytes:
        return read_file(folder / name, SourceError, most=INDEX_BYTES)

    folders = [path.name for path in folder.iterdir() if path.is_dir()]
    selected = model_files.selected_files(str(folder), names, read, beside=folders, weights=weights)
    files = [folder / name for name in selected]
    if pointers := [file.name for file in files if _is_pointer(file)]:
        raise _is_pointers(folder, pointers)
    return files


def _refuse_lost_links(folder: Path) -> None:
    """Raise SourceError for weights or settings that are links to files that are gone."""
    for path in sorted(folder.iterdir()):
        counts = path.suffix in (".safetensors", ".gguf", ".json")
        if counts and path.is_symlink() and not exists(path):
            raise SourceError(
                f"{path}: a link to {path.readlink()}, which is not there: copy the folder with "
                "the files behind its links (cp -rL), or download it again"
            )


def _is_pointers(folder: Path, names: list[str]) -> SourceError:
    return SourceError(
        f"{folder}: {', '.join(names[:3])}{' and others' if names[3:] else ''}: pointers "
        "of git LFS and not the files themselves; run `git lfs pull` in that folder"
    )


def _is_pointer(file: Path) -> bool:
    """True if git LFS has not fetched a file: what it leaves is short."""
    from qpipe.gguf.safetensors import is_pointer

    if file.stat().st_size >= _POINTER_BYTES:
        return False
    with open_file(file, SourceError) as opened:
        return is_pointer(opened.read(_POINTER_BYTES))


def is_card(file: Path, source: Path) -> bool:
    """True if a file of the folder ``source`` is the model card of a checkpoint."""
    return file.name == model_files.CARD and file.parent == source and not holds_tasks(source)


def holds_tasks(folder: Path) -> bool:
    """True if a folder is one of lm-eval tasks."""
    return any(folder.glob("*.yaml")) and not (folder / "config.json").exists()


def _is_of_tasks(path: Path, folder: Path) -> bool:
    inside = path.relative_to(folder)
    hidden = any(part.startswith((".", "__")) for part in inside.parts)
    matches = any(fnmatch.fnmatch(path.name, pattern) for pattern in (*TASK_FILES, "LICENSE*"))
    return matches and not hidden and path.is_file()
