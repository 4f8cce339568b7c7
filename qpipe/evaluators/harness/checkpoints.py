"""lm-eval's HFLM on a checkpoint folder, or on a GGUF file, dequantized."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM
from transformers import AutoTokenizer, GenerationConfig

from qpipe.errors import CheckpointError
from qpipe.evaluators.harness.prompts import GgufPrompts, Prompts, checkpoint_template
from qpipe.evaluators.harness.settings import require_greedy
from qpipe.hf.chat import Template
from qpipe.hf.load import LoadedModel, load
from qpipe.hf.tokenizer import TokenizerReading, read_tokenizer
from qpipe.llamacpp.model import Model

# Logits of one batch take no more than this, for prompts of up to so many tokens.
_LOGITS_BYTES, _PROMPT_TOKENS = 1 << 30, 2048


def open_checkpoint(
    folder: Path,
    *,
    threads: int,
    date: str | None,
    stack: ExitStack,
    options: Mapping[str, str] | None = None,
) -> tuple[Any, LoadedModel]:
    """lm-eval's model, and the model itself, loaded with ``options`` (device, dtype and kernel).

    ``date`` is the day that a chat template is told; ``stack`` closes what is opened. No code of
    its repository is run. Raises what `qpipe.hf.load.load` and
    `qpipe.hf.tokenizer.read_tokenizer` raise.
    """
    torch.set_num_threads(threads)
    gguf_file = next(folder.glob("*.gguf"), None)
    loaded = load(
        folder, gguf_file=None if gguf_file is None else gguf_file.name, **(options or {})
    )
    if gguf_file is None:
        lm: Any = CheckpointLM(loaded, read_tokenizer(folder), date=date)
    else:
        file = stack.enter_context(Model(gguf_file, vocab_only=True))
        lm = DequantizedLM(loaded, file, date=date)
    row = 4 * lm.vocab_size * min(lm.max_length, _PROMPT_TOKENS)
    lm.batch_size_per_gpu = max(1, min(16, _LOGITS_BYTES // row))
    return lm, loaded


class _Greedy(HFLM):  # type: ignore[misc]  # lm_eval is untyped
    """HFLM, whose texts are the likeliest alone, as llama.cpp's here are."""

    def __init__(self, loaded: LoadedModel, tokenizer: Any, ends: Iterable[int | None]) -> None:
        super().__init__(
            pretrained=loaded.model, tokenizer=tokenizer, backend="causal", batch_size=1
        )
        # transformers 5.17 takes what generation_config.json has for granted: a repetition_penalty
        # (1.05 in Qwen2.5's) also where no sampling is asked for, and max_new_tokens before
        # lm-eval's limit.
        loaded.model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
            eos_token_id=sorted({end for end in ends if end is not None}) or None,
            pad_token_id=self.tokenizer.pad_token_id,
        )

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """Greedy texts. Raises DataError for a task that asks for others."""
        for request in requests:
            require_greedy(request.args[1])
        texts: list[str] = super().generate_until(requests, disable_tqdm)
        return texts


class CheckpointLM(Prompts, _Greedy):
    """HFLM on a checkpoint, by the tokenizer that tokenizer.json holds."""

    def __init__(self, loaded: LoadedModel, read: TokenizerReading, *, date: str | None) -> None:
        config = loaded.model.generation_config
        ends = config.eos_token_id if config is not None else None
        every = ends if isinstance(ends, list) else [ends]
        super().__init__(loaded, read.tokenizer, [*every, read.tokenizer.eos_token_id])
        self.note = read.note
        self._date = date

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """The default template, if there is one."""
        return self._template.text if chat_template else None

    @cached_property
    def _template(self) -> Template:
        return checkpoint_template(self.tokenizer, date=self._date)


class DequantizedLM(GgufPrompts, _Greedy):
    """HFLM on the weights of a GGUF file; its words are llama.cpp's.

    transformers 5.17.0 reads a SentencePiece vocabulary in a GGUF file without BOS and takes EOS
    for it, which moved multiple choice by 1.2 nats.
    """

    note: str | None = None

    def __init__(self, loaded: LoadedModel, file: Model, *, date: str | None) -> None:
        self.read_vocabulary(file, date=date)
        super().__init__(loaded, _stand_in(file.path), file.vocab.ends)

    def tok_batch_encode(
        self,
        strings: list[str],
        padding_side: str = "left",
        left_truncate_len: int | None = None,
        truncation: bool = False,
    ) -> tuple[Any, Any]:
        """(token ids, which of them are no padding) [texts, longest]."""
        rows = [self.tok_encode(text, left_truncate_len=left_truncate_len) for text in strings]
        longest = max(map(len, rows))
        ids = torch.full((len(rows), longest), self.tokenizer.pad_token_id, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for number, row in enumerate(rows):
            part = slice(longest - len(row), None) if padding_side == "left" else slice(len(row))
            ids[number, part] = torch.tensor(row, dtype=torch.long)
            mask[number, part] = 1
        return ids, mask

    def tok_decode(self, tokens: Any, skip_special_tokens: bool = True) -> str:
        """The text of token ids, up to the one that ends it."""
        sequence = [tokens] if isinstance(tokens, int) else [int(token) for token in tokens]
        ids = [token for token in sequence if token >= 0]  # llama.cpp's -1: no EOS
        vocab = self._file.vocab
        if skip_special_tokens:
            ids = ids[: next((n for n, token in enumerate(ids) if token in vocab.ends), None)]
        return vocab.detokenize(ids, special=not skip_special_tokens)


def _stand_in(path: Path) -> Any:
    """transformers' tokenizer, by which HFLM recognizes stop texts among what was written."""
    try:
        return AutoTokenizer.from_pretrained(
            path.parent, gguf_file=path.name, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise CheckpointError(
            f"{path.name}: transformers cannot read its tokenizer ({error}); take "
            "evaluate.backend=llama.cpp"
        ) from error
