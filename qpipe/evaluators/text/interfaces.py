"""Interfaces of tokenizers and of loaded models, such as llama.cpp's, and their arrays' types."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Tokens: TypeAlias = npt.NDArray[np.int32]
Logits: TypeAlias = npt.NDArray[np.float32]
Nll: TypeAlias = npt.NDArray[np.float64]
"""Negative log-likelihoods of tokens, in nats."""
Values: TypeAlias = npt.NDArray[np.float64]
"""[tokens, columns]: the values of each scored token."""
Block: TypeAlias = tuple[int, int, Logits]
"""(window, start, logits [k, n_vocab]): row i predicts token start + i + 1 of the window."""


class TextTokenizer(Protocol):
    """A tokenizer.

    ``bos`` is the token that the vocabulary puts before a text, or None if it puts none; ``prefix``
    what a first token is predicted from: BOS, or EOS in a vocabulary without.
    """

    @property
    def bos(self) -> int | None:
        """See above."""

    @property
    def prefix(self) -> int:
        """See above."""

    def tokenize(self, text: str) -> Tokens:
        """Token ids of the text alone: no BOS, no EOS."""


class LogitsLane(Protocol):
    """A part of a backend that computes by itself, in any one thread."""

    def logits(self, windows: Tokens, *, first: int) -> Iterator[Block]:
        """Blocks, in order, for positions first … width-2 of each window [n_windows, width].

        A block may be overwritten when the next one is asked for.
        """


class Backend(TextTokenizer, LogitsLane, Protocol):
    """A loaded model."""

    @property
    def name(self) -> str:
        """Name of the software that computes."""

    @property
    def version(self) -> str:
        """Exact enough to compute the same again."""

    @property
    def n_vocab(self) -> int:
        """Number of logits a token."""

    @property
    def n_ctx_train(self) -> int | None:
        """The context that the model was trained for, None if it does not say."""

    @property
    def remarks(self) -> Sequence[str]:
        """Notes that a reader of its figures needs, on how they were computed."""

    @property
    def arithmetic(self) -> Mapping[str, str] | None:
        """In what was computed and where (`qpipe.results.arithmetic`); None where that is part of
        the file's types, as llama.cpp has it."""

    def together(self, width: int, rows: int) -> int:
        """Number of windows of ``width`` tokens computed together, ``rows`` logits of each."""

    def lanes(self, width: int, rows: int, *, most: int) -> Sequence[LogitsLane]:
        """Lanes that may compute groups of such windows at the same time, ``most`` at most.

        Good until lanes or logits are asked for again. All give the same values, as `logits` does.
        """
