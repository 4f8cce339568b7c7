"""lm-eval's HFLM on a checkpoint folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM

from qpipe.errors import CheckpointError

# Logits of one batch take no more than this, for prompts of up to so many tokens.
_LOGITS_BYTES, _PROMPT_TOKENS = 1 << 30, 2048


def open_checkpoint(folder: Path, *, threads: int, dtype: str) -> Any:
    """The model on the GPU where there is one; no code of its repository is run.

    Raises CheckpointError if transformers cannot load it.
    """
    torch.set_num_threads(threads)
    try:
        lm = HFLM(
            pretrained=str(folder),
            device="cuda" if torch.cuda.is_available() else "cpu",
            dtype=dtype,
            trust_remote_code=False,
        )
    except (OSError, ValueError, ImportError, KeyError, RuntimeError) as error:
        raise CheckpointError(f"transformers cannot load this checkpoint: {error}") from error
    row = 4 * lm.vocab_size * min(lm.max_length, _PROMPT_TOKENS)
    lm.batch_size_per_gpu = max(1, min(16, _LOGITS_BYTES // row))
    return lm
