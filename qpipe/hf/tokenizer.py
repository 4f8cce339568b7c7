"""A checkpoint's tokenizer: the token ids of a text and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qpipe.errors import CheckpointError

TokenArray = npt.NDArray[np.int32]


class Tokenizer:
    """The tokenizer in ``folder``, or in the GGUF file of that name in it.

    ``bos`` is the token that it puts before a text, or None if it puts none; ``prefix`` what a
    first token is predicted from: BOS, or EOS in a vocabulary without. Raises CheckpointError if
    transformers cannot load it.
    """

    def __init__(self, folder: Path, *, gguf_file: str | None = None) -> None:
        from transformers import AutoTokenizer

        named = {} if gguf_file is None else {"gguf_file": gguf_file}
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, **named
            )
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise CheckpointError(
                f"{folder}: transformers cannot load its tokenizer ({_first_line(error)}); give a "
                "checkpoint with tokenizer.json or tokenizer.model beside the weights"
            ) from error
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


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
