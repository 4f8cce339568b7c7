"""The windows and items that measurements keep in the store, as long as they are there."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qpipe.core.layout import MANIFEST
from qpipe.errors import DataError, quoted
from qpipe.report.paired_difference import PairedScore, paired_scores
from qpipe.results import windows

if TYPE_CHECKING:
    from qpipe.results.measurement import Evaluation

_SUMS, _SPANS = "sums.npy", "spans.npy"
_MOST = 1 << 62
_LARGEST = 1e15


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
        if sums is not None:
            _require(sums)
    except (ValueError, TypeError, RecursionError) as error:
        raise _damaged(folder / windows.FILE, error) from None
    return sums


def _require(sums: windows.WindowSums) -> None:
    """Raise ValueError or TypeError for what no measurement writes."""
    if not all(abs(nll) < _LARGEST for nll in sums.nll):
        raise ValueError("a window's sum is no number of nats")
    whole = all(type(count) is int and 0 < count < _MOST for count in (*sums.tokens, sums.units))
    if not whole or len(sums.tokens) != len(sums.nll) or not sums.nll:
        raise ValueError("its windows and their tokens do not go together")
    if sums.unit not in windows.SCORES:
        raise ValueError(f"its unit is {quoted(sums.unit)}")


def divergence_sums(evaluation: Evaluation) -> DivergenceSums | None:
    """The KL divergence of each window; None of a measurement that kept none.

    Raises DataError for a damaged file.
    """
    folder = folder_of(evaluation)
    if folder is None or not (folder / _SUMS).is_file():
        return None
    import numpy as np

    sums = _pairs(folder / _SUMS)
    least, most = sums.T
    taken = ~np.isnan(least)
    if not taken.any() or not (np.abs(sums[taken]) < _LARGEST).all():
        raise _damaged(folder / _SUMS, "a window's sum is no number of nats")
    tokens = _tokens(folder, taken.nonzero()[0].tolist(), evaluation.measurement.on.tokens_scored)
    if tokens is None:
        return None
    return DivergenceSums(least[taken].tolist(), most[taken].tolist(), tokens)


def _pairs(file: Path) -> Any:
    """The array [windows, 2] in a file. Raises DataError for one that holds no such array."""
    import tokenize

    import numpy as np

    try:
        # Mapped: a file that says to be larger than it is takes no memory.
        array = np.array(np.load(file, mmap_mode="r", allow_pickle=False))
    except (ValueError, TypeError, OSError, EOFError, OverflowError, SyntaxError) as error:
        raise _damaged(file, error) from None
    except (tokenize.TokenError, MemoryError) as error:  # of a header; numpy 2.2 lets them through
        raise _damaged(file, error) from None
    if array.ndim != 2 or array.shape[1] != 2 or array.dtype.kind not in "fi":
        raise _damaged(file, f"it holds {array.dtype} {array.shape}")
    return array


def _tokens(folder: Path, taken: Sequence[int], scored: int | None) -> list[int] | None:
    """The scored tokens of each window that was taken: as the stage ``tokens`` cut them, else all
    alike where their number allows it; None where nothing tells."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        key = str(manifest["inputs"].get("tokens", {}).get("key", ""))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _damaged(folder / MANIFEST, error) from None
    spans = folder.parents[1] / key[:2] / key / _SPANS
    if re.fullmatch("[0-9a-f]{64}", key) and spans.is_file():
        begins, ends = _pairs(spans).T
        if len(begins) <= taken[-1]:
            raise _damaged(spans, f"it has {len(begins)} windows")
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
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(ours, error) from None


def _damaged(path: Path, why: object) -> DataError:
    return DataError(f"{path}: it is damaged ({why}); `qpipe verify` sets it aside")
