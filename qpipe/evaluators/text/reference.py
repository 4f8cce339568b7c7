"""The artifact of a reference: its distributions and likelihoods on a text's tokens.

Files: ``distributions.bin``, a row of the form's ``row_type`` for each scored token, in the order
of the text; ``nll.npy``, float64, nats; ``result.json``, the measurement of the reference itself.
One that was imported has in place of the first the reference file, and ``columns.json``, which says
where in it each field of the rows is: a tensor of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qpipe.errors import DataError, RecipeError
from qpipe.evaluators.text.distributions import Columns, Form, Full, Rows, Top, starts
from qpipe.evaluators.text.interfaces import Nll
from qpipe.evaluators.text.windows import Tokenized
from qpipe.stages.evaluator import RESULT

DISTRIBUTIONS, NLL, COLUMNS = "distributions.bin", "nll.npy", "columns.json"


@dataclass(frozen=True)
class MappedField:
    """A field of the rows as a tensor of ``file``, at a byte of it; ``dtype`` is numpy's."""

    file: str
    dtype: str
    shape: tuple[int, ...]
    offset: int


def write_columns(folder: Path, columns: Mapping[str, MappedField]) -> None:
    """Write ``columns.json``."""
    (folder / COLUMNS).write_text(
        json.dumps({name: asdict(each) for name, each in columns.items()}, indent=1)
    )


@dataclass(frozen=True)
class Reference:
    """A reference's artifact, opened for reading."""

    folder: Path
    tokenized: Tokenized

    @cached_property
    def about(self) -> dict[str, Any]:
        """The reference's own result."""
        result: dict[str, Any] = json.loads((self.folder / RESULT).read_bytes())
        return result

    @cached_property
    def nll(self) -> Nll:
        """Negative log-likelihood of each scored token, in nats."""
        nll: Nll = np.load(self.folder / NLL)
        return nll

    def require_same(self, *, n_vocab: int, model: str) -> None:
        """Raise DataError for a reference on other tokens, or of another vocabulary."""
        if self.about["tokens_sha256"] != self.tokenized.about.sha256:
            raise DataError(
                "the reference's log-probabilities are of other tokens (another tokenizer, text or "
                "protocol): wire the same stage to needs.tokens of both, or make them anew"
            )
        if self.about["n_vocab"] != n_vocab:
            raise DataError(
                f"the reference has {self.about['n_vocab']} logits a token and {model} has "
                f"{n_vocab}: they are models of different vocabularies, and have no KL divergence"
            )

    def rows(self, window: int) -> Rows:
        """The distributions of a window's scored tokens."""
        first, end = int(self._starts[window]), int(self._starts[window + 1])
        return self.all_rows[first:end]

    @cached_property
    def form(self) -> Form:
        """The form in which the distributions are stored."""
        return form_of(self.about["n_vocab"], self.about["top_k"])

    @cached_property
    def _starts(self) -> Any:
        return starts(self.tokenized.windows)

    @cached_property
    def all_rows(self) -> Rows:
        """The distributions of all scored tokens, in the order of the text."""
        if not (self.folder / COLUMNS).exists():
            return np.memmap(self.folder / DISTRIBUTIONS, dtype=self.form.row_type, mode="r")
        said = json.loads((self.folder / COLUMNS).read_bytes())
        return Columns({name: self._mapped(MappedField(**each)) for name, each in said.items()})

    def _mapped(self, column: MappedField) -> npt.NDArray[Any]:
        return np.memmap(
            self.folder / column.file,
            column.dtype,
            "r",
            offset=column.offset,
            shape=tuple(column.shape),
        )


def form_of(n_vocab: int, top_k: int | None) -> Form:
    """The form in which distributions of so many tokens are stored. Raises RecipeError for a
    ``top_k`` that takes no less room than all tokens."""
    full = Full(n_vocab)
    if top_k is None:
        return full
    top = Top(n_vocab, min(top_k, n_vocab))
    if top.row_type.itemsize >= full.row_type.itemsize:
        raise RecipeError(
            f"evaluate.top_k: the {top_k} likeliest of {n_vocab} tokens take "
            f"{top.row_type.itemsize:,} bytes for each scored token, and all {n_vocab} take "
            f"{full.row_type.itemsize:,}: leave top_k out, or give a smaller one"
        )
    return top
