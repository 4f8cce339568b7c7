"""The artifact of a reference: its distributions and likelihoods on a text's tokens.

Files: ``distributions.bin``, a row of `row_type` for each scored token in the order of the text;
``nll.npy``, float64, nats; ``result.json``, the measurement of the reference itself.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qpipe.errors import DataError
from qpipe.evaluators.tokenized import Tokenized
from qpipe.stages.evaluate import RESULT

if TYPE_CHECKING:
    from qpipe.evaluators.metrics.distributions import Rows
    from qpipe.evaluators.metrics.scores import Nll

DISTRIBUTIONS, NLL = "distributions.bin", "nll.npy"


@dataclass(frozen=True)
class Stored:
    """A reference's artifact, opened for reading."""

    folder: Path
    tokenized: Tokenized

    @cached_property
    def about(self) -> dict[str, Any]:
        """The reference's own result."""
        found: dict[str, Any] = json.loads((self.folder / RESULT).read_bytes())
        return found

    @cached_property
    def nll(self) -> Nll:
        """Of each scored token."""
        import numpy as np

        found: Nll = np.load(self.folder / NLL)
        return found

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
        return self._rows[first:end]

    @cached_property
    def _starts(self) -> Any:
        from qpipe.evaluators.metrics.distributions import starts

        return starts(self.tokenized.windows)

    @cached_property
    def _rows(self) -> Rows:
        import numpy as np

        from qpipe.evaluators.metrics.distributions import row_type

        kind = row_type(self.about["n_vocab"])
        return np.memmap(self.folder / DISTRIBUTIONS, dtype=kind, mode="r")
