"""The windows and items that measurements keep in the store, as long as they are there."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qpipe.core.layout import MANIFEST
from qpipe.errors import DataError
from qpipe.report.paired_difference import PairedScore, paired_scores
from qpipe.results import windows

if TYPE_CHECKING:
    from qpipe.results.measurement import Evaluation

_SUMS, _SPANS = "sums.npy", "spans.npy"


@dataclass(frozen=True)
class DivergenceSums:
    """Sums over the tokens of each window that was taken: the least and the most that KL divergence
    can be there, and the number of its scored ``tokens``."""

    least: Sequence[float]
    most: Sequence[float]
    tokens: Sequence[int]


def folder_of(evaluation: Evaluation) -> Path | None:
    """The folder of a measurement's artifact; None where it is not there any more.

    A report may come from anywhere: only a folder that is called by the artifact's key is one.
    """
    if evaluation.artifact is None or evaluation.key is None:
        return None
    folder = Path(evaluation.artifact)
    return folder if folder.name == evaluation.key and (folder / MANIFEST).is_file() else None


def likelihoods(evaluation: Evaluation) -> windows.WindowSums | None:
    """The negative log-likelihood of each window; None of a measurement that kept none.

    Raises DataError for a damaged file.
    """
    if (folder := folder_of(evaluation)) is None:
        return None
    try:
        sums = windows.read(folder)
    except (ValueError, TypeError) as error:
        raise _damaged(folder / windows.FILE, error) from None
    if sums is not None and not all(map(math.isfinite, sums.nll)):
        raise _damaged(folder / windows.FILE, "a window's sum is no finite number")
    return sums


def divergence_sums(evaluation: Evaluation) -> DivergenceSums | None:
    """The KL divergence of each window; None of a measurement that kept none.

    Raises DataError for a damaged file.
    """
    folder = folder_of(evaluation)
    if folder is None or not (folder / _SUMS).is_file():
        return None
    import numpy as np

    try:
        sums = np.load(folder / _SUMS, allow_pickle=False)
        least, most = sums.T
    except (ValueError, OSError, EOFError) as error:
        raise _damaged(folder / _SUMS, error) from None
    taken = ~np.isnan(least)
    if not taken.any() or not np.isfinite(sums[taken]).all():
        raise _damaged(folder / _SUMS, "a window's sum is no finite number")
    tokens = _tokens(folder, taken.nonzero()[0].tolist(), evaluation.measurement.on.tokens_scored)
    if tokens is None:
        return None
    return DivergenceSums(least[taken].tolist(), most[taken].tolist(), tokens)


def _tokens(folder: Path, taken: Sequence[int], scored: int | None) -> list[int] | None:
    """The scored tokens of each window that was taken: as the stage ``tokens`` cut them, else all
    alike where their number allows it; None where nothing tells."""
    manifest = json.loads((folder / MANIFEST).read_bytes())
    key = manifest["inputs"].get("tokens", {}).get("key", "")
    spans = folder.parents[1] / key[:2] / key / _SPANS
    if key and spans.is_file():
        import numpy as np

        begins, ends = np.load(spans, allow_pickle=False).T
        return [int(ends[window] - begins[window]) for window in taken]
    each, left = divmod(scored or 0, len(taken))
    return [each] * len(taken) if each and not left else None


def item_pairs(one: Evaluation, other: Evaluation) -> Mapping[str, PairedScore]:
    """The items of both models, by the name of the score; none where they are not kept.

    Raises DataError for a damaged file.
    """
    ours, theirs = folder_of(one), folder_of(other)
    if ours is None or theirs is None:
        return {}
    try:
        return paired_scores(ours, theirs)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(ours, error) from None


def _damaged(path: Path, why: object) -> DataError:
    return DataError(f"{path}: it is damaged ({why}); `qpipe verify` sets it aside")
