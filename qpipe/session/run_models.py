"""The models of a run under names that people read: linked to the store, no byte copied."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from qpipe.core.digests import Digests
from qpipe.core.layout import MANIFEST
from qpipe.core.outcome import Outcome
from qpipe.results.comparison import Comparison, ModelRow

MODELS = "models"
_NAME_BYTES = 180
_IMATRIX = "imatrix"


def linked(
    comparison: Comparison, outcomes: Mapping[str, Outcome], folder: Path, digests: Digests
) -> tuple[Comparison, list[str]]:
    """Link each model that was made, and each importance matrix, in ``folder``/models.

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
    return replace(comparison, rows=tuple(rows)), problems


def _is_model(outcome: Outcome) -> bool:
    return outcome.node.stage in ("convert", "quantize")


def _unique(row: ModelRow, names: set[str]) -> str:
    """A name that no other row of the run has, such as ``tinystories-d256-Q4_K_M``."""
    words = [row.model or "model", *([row.format] if row.format else []), row.name]
    name = _plain("-".join(dict.fromkeys(words)))
    if name in names:
        name = f"{name}-{(row.key or '')[:8]}"
    names.add(name)
    return name


def _plain(words: str) -> str:
    """Words as a file's name: letters of any script, digits and ``.+-_`` stay."""
    name = re.sub(r"[^\w.+-]+", "_", words).strip("._") or "model"
    return name.encode(errors="replace")[:_NAME_BYTES].decode(errors="ignore")


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
    matrices: Sequence[Path] = [
        file
        for outcome in outcomes
        if outcome.node.stage == _IMATRIX and outcome.artifact
        for file in sorted(outcome.artifact.path.glob("*.gguf"))
    ]
    for number, file in enumerate(matrices, start=1):
        last = f"-{number}" if len(matrices) > 1 else ""
        _link_file(file, folder / f"{_IMATRIX}{last}{file.suffix}", digests)
