"""A checkpoint's tokenizer: the token ids of a text and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from qpipe.errors import CheckpointError
from qpipe.hf.reading import read

TokenArray = npt.NDArray[np.int32]


class Tokenizer:
    """The tokenizer in a checkpoint ``folder``.

    ``bos`` is the token that it puts before a text, or None if it puts none; ``prefix`` what a
    first token is predicted from: BOS, or EOS in a vocabulary without. ``note`` as in
    `qpipe.hf.reading`. Raises CheckpointError if transformers cannot load it.
    """

    def __init__(self, folder: Path) -> None:
        found = read(folder)
        self._tokenizer = found.tokenizer
        self.note = found.note
        self.n_tokens = len(self._tokenizer)
        self.bos = self._bos()
        self.prefix = self._prefix(folder)

    def _bos(self) -> int | None:
        bos: int | None = self._tokenizer.bos_token_id
        found = self._tokenizer("a")["input_ids"]
        return bos if bos is not None and found[:1] == [bos] else None

    def _prefix(self, folder: Path) -> int:
        for token in (self._tokenizer.bos_token_id, self._tokenizer.eos_token_id):
            if token is not None:
                return int(token)
        raise CheckpointError(
            f"{folder}: its tokenizer has neither a BOS nor an EOS token; name one of them in "
            "tokenizer_config.json"
        )

    def tokenize(self, text: str) -> TokenArray:
        """Token ids of ``text`` alone: no BOS, no EOS, special tokens read as plain text."""
        found = self._tokenizer(
            text, add_special_tokens=False, split_special_tokens=True, verbose=False
        )
        return np.array(found["input_ids"], np.int32)
