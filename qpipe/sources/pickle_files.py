"""Which files of a folder are its weights as pickles: by their index, or their names."""

from __future__ import annotations

import itertools
from pathlib import Path

from qpipe.errors import CheckpointError, quoted
from qpipe.gguf import jsonfile
from qpipe.sources.pickle_names import PART, PICKLED_INDEX, SINGLE, is_pickled, named
from qpipe.support.files import is_file
from qpipe.support.inside import is_inner


def weight_map(folder: Path) -> dict[str, str] | None:
    """The file of each tensor by the index in ``folder``, None without one.

    Raises CheckpointError for names that are no parts of such a checkpoint.
    """
    path = folder / PICKLED_INDEX
    if not is_file(path):
        return None
    places = jsonfile.load(path).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise CheckpointError(
            f"{path}: field 'weight_map' is no object {{tensor: file}}; download it again"
        )
    for tensor, name in places.items():
        if not is_inner(name) or not is_pickled(name) or name == PICKLED_INDEX:
            raise CheckpointError(
                f"{path}: field 'weight_map' puts tensor {quoted(tensor)} into {quoted(name)}, "
                "which is no name of a file of weights beside it; download it again"
            )
    return places


def weight_files(folder: Path) -> list[str]:
    """The names of the files with the weights of the checkpoint in ``folder``, in order.

    Raises CheckpointError where some are missing, none are, or two sets of them are there.
    """
    names = [path.name for path in folder.iterdir() if is_pickled(path.name)]
    files = [name for name in named(names) if name != PICKLED_INDEX]
    places = weight_map(folder)
    expected = _parts(files) if places is None else sorted({*places.values()})
    if SINGLE in files and (len(files) > 1 or expected != [SINGLE]):
        raise CheckpointError(
            f"{folder}: holds two sets of weights, {SINGLE} and {files[0]}, …; remove the set that "
            "is out of date"
        )
    if missing := [name for name in expected if name not in files]:
        raise CheckpointError(
            f"{folder / missing[0]}: missing; it is one of the {len(expected)} files of this "
            "checkpoint: download it again"
        )
    if not expected:
        raise CheckpointError(f"{folder}: holds no {SINGLE}; download the checkpoint again")
    return expected


def _parts(files: list[str]) -> list[str]:
    """All parts that the names promise, up to the first that is missing: a number in a name may be
    any."""
    counts = {match[2] for name in files if (match := PART.fullmatch(name))}
    if not counts:
        return files
    if len(counts) > 1:
        raise CheckpointError(
            f"{files[0]}: other files beside it are parts of another number of files "
            f"({', '.join(sorted(counts))}); remove the set that is out of date"
        )
    (count,) = counts
    expected = (f"pytorch_model-{i:0{len(count)}d}-of-{count}.bin" for i in itertools.count(1))
    if int(count) == len(files):
        return [*itertools.islice(expected, int(count))]
    return [*files, next(name for name in expected if name not in files)]
