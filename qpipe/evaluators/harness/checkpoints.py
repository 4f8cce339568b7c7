"""lm-eval's HFLM on a checkpoint folder, or on a GGUF file, dequantized."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from qpipe.errors import CheckpointError
from qpipe.hf.load import load

# Logits of one batch take no more than this, for prompts of up to so many tokens.
_LOGITS_BYTES, _PROMPT_TOKENS = 1 << 30, 2048


def open_checkpoint(folder: Path, *, threads: int) -> tuple[Any, str]:
    """The model, on the GPU where there is one, and what it computes in.

    No code of its repository is run. Raises what `qpipe.hf.load.load` raises.
    """
    # As qpipe.hf.backend.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    import torch
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoTokenizer

    torch.set_num_threads(threads)
    gguf_file = next((path.name for path in folder.glob("*.gguf")), None)
    named = {} if gguf_file is None else {"gguf_file": gguf_file}
    loaded = load(folder, gguf_file=gguf_file)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, **named
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise CheckpointError(f"transformers cannot load this tokenizer: {error}") from error
    lm = HFLM(pretrained=loaded.model, tokenizer=tokenizer, backend="causal", batch_size=1)
    row = 4 * lm.vocab_size * min(lm.max_length, _PROMPT_TOKENS)
    lm.batch_size_per_gpu = max(1, min(16, _LOGITS_BYTES // row))
    return lm, f"{loaded.dtype}, {loaded.device}"
