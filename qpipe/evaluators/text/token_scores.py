"""Values of each token of a text: one pass of a model over windows, and what makes them of logits.

Windows are taken group after group, their values kept on the way, until it is enough.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Protocol

import numpy as np

from qpipe.errors import DataError
from qpipe.evaluators.text.interfaces import Backend, Logits, LogitsLane, Nll, Tokens, Values
from qpipe.evaluators.text.windows import Windows
from qpipe.support.bounded_pool import in_order

# Logits per step: what is read, subtracted and exponentiated should stay in the CPU's cache.
STEP = 1 << 17


class NllScorer:
    """One column: the negative log-likelihood of each scored token, in nats."""

    def __init__(self, windows: Windows) -> None:
        self.windows = windows

    def __call__(self, window: int, at: int, logits: Logits) -> Values:
        """Nll of the ``at``-th scored token of a window and those after it."""
        return token_nll(logits, self.windows.targets(window)[at : at + len(logits)])[:, None]


def token_nll(logits: Logits, targets: Tokens) -> Nll:
    """-log softmax(logits)[target] of each row: logits [n, n_vocab], targets [n] → float64 [n].

    As llama.cpp's `log_softmax` (tools/perplexity/perplexity.cpp): differences and exponentials
    in float32, their sum and its logarithm in float64.
    """
    out = np.empty(len(targets), np.float64)
    step = max(1, STEP // logits.shape[1])
    for at in range(0, len(targets), step):
        rows = logits[at : at + step]
        top = rows.max(axis=1)
        shifted = rows - top[:, None]
        chosen = shifted[np.arange(len(rows)), targets[at : at + step]].astype(np.float64)
        total = np.exp(shifted, out=shifted).sum(axis=1, dtype=np.float64)
        out[at : at + step] = np.log(total) - chosen
    return out


def require_finite(values: Values, logits: Logits, *, model: str, window: int, start: int) -> None:
    """Raise DataError where a logit is NaN or a token of the text has probability zero."""
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise DataError(
            f"{model} gave {_fault(logits[row])} at position {start + row} of window {window}: the "
            "model is damaged, or its quantization overflowed; evaluate the unquantized checkpoint "
            "to tell which"
        )


def _fault(row: Logits) -> str:
    bad = int(np.count_nonzero(np.isnan(row)))
    return f"{bad} NaN of {len(row)} logits" if bad else "infinite logits"


Progress = Callable[[int, int], None]
"""Called with (tokens done, tokens in all)."""


class Scorer(Protocol):
    """A scorer of tokens by the logits that predict them. Called from several threads."""

    def __call__(self, window: int, at: int, logits: Logits) -> Values:
        """Values of a window's scored tokens from the ``at``-th on: [len(logits), columns]."""


class GroupFiles:
    """Values of the groups that are done, in files that outlive this process.

    A file appears whole, and only after those of the groups before it.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def load(self) -> list[list[Values]]:
        """The groups that an earlier attempt finished, in order."""
        groups: list[list[Values]] = []
        while self.folder is not None and (path := self._path(len(groups))).exists():
            with np.load(path) as arrays:
                ends = np.cumsum(arrays["lengths"])[:-1]
                groups.append(np.split(arrays["values"], ends))
        return groups

    def add(self, number: int, group: Sequence[Values]) -> None:
        """Keep the values of a group's windows."""
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(number)
        aside = path.with_suffix(".writing")
        with aside.open("wb") as file:
            np.savez(file, values=np.concatenate(group), lengths=[len(part) for part in group])
        aside.replace(path)

    def _path(self, number: int) -> Path:
        assert self.folder is not None
        return self.folder / f"group-{number:06}.npz"


class WindowPass:
    """A model going over windows in ``order``, as many at a time as it computes together.

    The grouping depends on the model and the windows alone, so that one that goes on from what is
    in ``files`` computes exactly what the first attempt would have. ``filled`` computes a last
    group that is smaller with windows once more, for nothing but its size, so that a window gives
    the same values in every order.
    """

    def __init__(
        self,
        backend: Backend,
        windows: Windows,
        *,
        order: Sequence[int],
        files: GroupFiles,
        filled: bool = False,
    ) -> None:
        windows.require_within(backend.n_vocab, model=f"this model ({backend.name})")
        self.width = windows.tokens.shape[1]
        self.rows = self.width - 1 - windows.first
        size = backend.together(self.width, self.rows)
        self.backend, self.windows, self.files = backend, windows, files
        # In llama.cpp 0.6.0 the logits of a window depend on how many are computed together, if not
        # on which: quantized activations round otherwise.
        self.least = size if filled else 1
        self.groups = [order[at : at + size] for at in range(0, len(order), size)]
        self.values: list[Values] = []
        """The values of each window that is done, in ``order``."""

    def run(
        self,
        scorer: Scorer,
        *,
        progress: Progress | None = None,
        enough: Callable[[Sequence[Values]], bool] = lambda values: False,
    ) -> int:
        """Go on to the end, or until ``enough``; how many windows were computed here, not read.

        ``scorer`` is called from as many threads as the backend has lanes. Raises DataError for
        logits that are no numbers and tokens of another model.
        """
        done = self.files.load()[: len(self.groups)]
        self.values += [values for group in done for values in group]
        resumed = len(self.values)
        total = sum(map(len, self.groups))
        if self.values and enough(self.values):
            return 0
        with closing(self._computed(len(done), scorer)) as computed:
            for number, group in enumerate(computed, start=len(done)):
                self.files.add(number, group)
                self.values += group
                if progress:
                    progress(len(self.values) * self.width, total * self.width)
                if enough(self.values):
                    break
        return len(self.values) - resumed

    def _computed(self, first: int, scorer: Scorer) -> Generator[list[Values], None, None]:
        """The values of each group from the ``first`` on, in order, computed by all lanes.

        Closed, it waits for what lanes have begun, which is lost: no lane is used after that.
        """
        groups = self.groups[first:]
        if not groups:
            return
        lanes = self.backend.lanes(self.width, self.rows, most=len(groups))
        if len(lanes) == 1:
            for group in groups:
                yield self._group(lanes[0], group, scorer)
            return
        idle: SimpleQueue[LogitsLane] = SimpleQueue()
        for lane in lanes:
            idle.put(lane)

        def compute(group: Sequence[int]) -> list[Values]:
            lane = idle.get()
            try:
                return self._group(lane, group, scorer)
            finally:
                idle.put(lane)

        jobs = (partial(compute, group) for group in groups)
        with ThreadPoolExecutor(len(lanes), thread_name_prefix="lane") as pool:
            yield from in_order(pool, jobs, ahead=len(lanes))

    def _group(self, lane: LogitsLane, group: Sequence[int], scorer: Scorer) -> list[Values]:
        windows = self.windows
        parts: list[list[Values]] = [[] for _ in group]
        at = [0] * len(group)
        more = [group[0]] * (self.least - len(group))
        for index, start, block in lane.logits(
            windows.tokens[[*group, *more]], first=windows.first
        ):
            if index >= len(group):
                continue
            window = group[index]
            first, end = (int(bound) for bound in windows.spans[window])
            logits = block[max(0, first - start) : max(0, end - start)]
            if not len(logits):
                continue
            with np.errstate(invalid="ignore"):
                values = scorer(window, at[index], logits)
            require_finite(
                values,
                logits,
                model=self.backend.name,
                window=window,
                start=max(first, start),
            )
            parts[index].append(values)
            at[index] += len(logits)
        return [np.concatenate(part) for part in parts]
