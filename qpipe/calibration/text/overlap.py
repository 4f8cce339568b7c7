"""What is wrong with a calibration text: it repeats itself, or it gives the evaluation away.

Texts are compared by runs of thirteen words without regard to case and punctuation, as GPT-3's
authors looked for training text in benchmarks (Brown et al. 2020, Language Models are Few-Shot
Learners, appendix C).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

RUN = 13

_Hashes = npt.NDArray[np.uint64]
_Places = npt.NDArray[np.int64]
_WORD = re.compile(r"\w+")
# An odd number without pattern (FNV-1a's 64-bit prime); products wrap around.
_FACTOR = np.uint64(0x100000001B3)


@dataclass(frozen=True)
class Overlap:
    """``words`` of a calibration text, and how many of them stand in a run of `RUN` words that
    came before in it (``repeated``), or that the evaluation text has too (``shared``; None: there
    was none to compare with)."""

    words: int
    repeated: int
    shared: int | None

    @property
    def repeated_share(self) -> float:
        """The share of words in runs that came before, 0 to 1."""
        return self.repeated / self.words if self.words else 0.0

    @property
    def shared_share(self) -> float:
        """The share of words in runs that the evaluation text has too, 0 to 1."""
        return (self.shared or 0) / self.words if self.words else 0.0


def overlap(documents: Iterable[str], evaluation: str | None = None) -> Overlap:
    """Compare a calibration text with itself and with an evaluation text.

    No run reaches over the end of a document. A text of fewer than `RUN` words has no run.
    """
    numbers: dict[str, int] = {}
    runs: list[_Hashes] = [np.empty(0, np.uint64)]
    starts: list[_Places] = [np.empty(0, np.int64)]
    words = 0
    for document in documents:
        own = _numbered(document, numbers)
        runs.append(_runs(own))
        starts.append(np.arange(len(runs[-1])) + words)
        words += len(own)
    hashes, places = np.concatenate(runs), np.concatenate(starts)
    again = np.ones(len(hashes), bool)
    again[np.unique(hashes, return_index=True)[1]] = False
    shared = None
    if evaluation is not None:
        there = np.isin(hashes, _runs(_numbered(evaluation, numbers)))
        shared = _covered(places[there], words)
    return Overlap(words, _covered(places[again], words), shared)


def _numbered(text: str, numbers: dict[str, int]) -> _Hashes:
    """Words as numbers, equal for equal words; new words are added."""
    words = [numbers.setdefault(word, len(numbers) + 1) for word in _WORD.findall(text.lower())]
    return np.array(words, np.uint64)


def _runs(words: _Hashes) -> _Hashes:
    """A hash for each run of `RUN` words."""
    if len(words) < RUN:
        return np.empty(0, np.uint64)
    scattered = words * np.uint64(0x9E3779B97F4A7C15)
    scattered ^= scattered >> np.uint64(29)
    windows = np.lib.stride_tricks.sliding_window_view(scattered, RUN)
    hashes: _Hashes = np.zeros(len(windows), np.uint64)
    for column in range(RUN):
        hashes = hashes * _FACTOR + windows[:, column]
    return hashes


def _covered(starts: _Places, words: int) -> int:
    """The number of words that stand in a run which begins at one of ``starts``."""
    edges = np.zeros(words + RUN, np.int64)
    edges[starts] += 1
    edges[starts + RUN] -= 1
    return int(np.count_nonzero(np.cumsum(edges)))
