"""The models of a run under names that people read: linked to the store, no byte copied."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from qpipe.core.digests import Digests
from qpipe.core.layout import MANIFEST
from qpipe.core.outcome import Outcome
from qpipe.results.comparison import Comparison, ModelRow
from qpipe.support.files import is_folder, plain_name

MODELS = "models"
_NAME_BYTES = 180
_IMATRIX, _TOWERS = "imatrix", "mmproj"


def without_lost_files(comparison: Comparison) -> Comparison:
    """Return the comparison without the paths of models whose bytes went (run.keep=results)."""
    return replace(
        comparison,
        rows=tuple(
            row
            if row.artifact is None or is_folder(Path(row.artifact))
            else replace(row, artifact=None, file=None)
            for row in comparison.rows
        ),
    )


def linked(
    comparison: Comparison, outcomes: Mapping[str, Outcome], folder: Path, digests: Digests
) -> tuple[Comparison, list[str]]:
    """Link each model that was made, each importance matrix and each file of towers for images and
    sound, in ``folder``/models.

    Returns the comparison whose rows say where, and what could not be linked, in words.
    """
    made = {o.artifact.manifest.key for o in outcomes.values() if o.artifact and _is_model(o)}
    rows: list[ModelRow] = []
    problems: list[str] = []
    names: set[str] = set()
    for row in comparison.rows:
        if row.key not in made or row.artifact is None:
            rows.append(row)
            continue
        try:
            path = _link(
                Path(row.file or row.artifact), folder / MODELS, _unique(row, names), digests
            )
            rows.append(replace(row, link=str(path)))
        except OSError as error:
            problems.append(f"{row.name}: no link to it in {folder / MODELS} ({error.strerror})")
            rows.append(row)
    with contextlib.suppress(OSError):
        _link_matrices(outcomes.values(), folder / MODELS, digests)
        _link_towers(outcomes.values(), folder / MODELS, digests)
    return replace(comparison, rows=tuple(rows)), problems


def _is_model(outcome: Outcome) -> bool:
    return outcome.node.stage in ("convert", "quantize")


def _unique(row: ModelRow, names: set[str]) -> str:
    """A name that no other row of the run has, such as ``tinystories-d256-Q4_K_M``; a type that
    the model is called after already (m-F16.gguf) is said once."""
    kind = [row.format] if row.format and row.format not in row.name.split(" ") else []
    name = row.model or "model"
    for word in dict.fromkeys([*kind, row.name]):
        if not re.search(
            rf"(^|[-._]){re.escape(word)}$", name, re.IGNORECASE
        ):  # m-F16 of m-F16.gguf
            name = f"{name}-{word}"
    name = plain_name(name, _NAME_BYTES) or "model"
    if name in names:
        name = f"{name}-{(row.key or '')[:8]}"
    names.add(name)
    return name


def _link(source: Path, folder: Path, name: str, digests: Digests) -> Path:
    """Link a file, or each file of an artifact's folder."""
    if source.is_dir():
        target = folder / name
        for root, _, files in os.walk(source):
            for file in files:
                path = Path(root) / file
                if path != source / MANIFEST:
                    _link_file(path, target / path.relative_to(source), digests)
        return target
    target = folder / f"{name}{source.suffix}"
    _link_file(source, target, digests)
    return target


def _link_file(source: Path, target: Path, digests: Digests) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        digests.link(source, target)
    except FileExistsError:
        return
    except OSError:  # another file system, or one that has no hard links
        target.symlink_to(source)


def _link_matrices(outcomes: Iterable[Outcome], folder: Path, digests: Digests) -> None:
    files = [
        (outcome.node.made_for or "", file)
        for outcome in outcomes
        if outcome.node.stage == _IMATRIX and outcome.artifact
        for file in sorted(outcome.artifact.path.glob("*.gguf"))
    ]
    several = Counter(model for model, _ in files)
    numbers = {model: itertools.count(1) for model in several}
    for model, file in files:
        last = [str(next(numbers[model]))] if several[model] > 1 else []
        name = plain_name("-".join(filter(None, [model, _IMATRIX, *last])), _NAME_BYTES)
        _link_file(file, folder / f"{name}{file.suffix}", digests)


def towers(folder: Path) -> list[Path]:
    """The files of towers for images and sound in the folder of a run."""
    return sorted((folder / MODELS).glob(f"{_TOWERS}-*.gguf"))


def _link_towers(outcomes: Iterable[Outcome], folder: Path, digests: Digests) -> None:
    for outcome in outcomes:
        if outcome.node.stage == _TOWERS and outcome.artifact:
            for file in outcome.artifact.path.glob("*.gguf"):
                kind = str(outcome.node.params["outtype"]).upper()
                words = [_TOWERS, outcome.node.made_for or "model", kind]
                name = plain_name("-".join(words), _NAME_BYTES)
                _link_file(file, folder / f"{name}{file.suffix}", digests)
