"""Windows of tokens in, logits out: llama.cpp as an evaluation backend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qpipe.core.closing import Closing
from qpipe.llamacpp.batch import Batch
from qpipe.llamacpp.context import Context, ContextOptions, LogitsArray
from qpipe.llamacpp.model import Model, TokenArray
from qpipe.llamacpp.structs import LLAMA_VERSION, WHEEL, WHEEL_VERSION

if TYPE_CHECKING:
    pass

# llama-perplexity's default --batch-size; more tokens at once were not faster.
_BATCH_TOKENS = 2048
# Logits of one decode beyond this are asked for in several (256 rows of 150,000 words are 150 MB).
_LOGITS_BYTES = 512 << 20
# What a context takes at most (src/llama-cparams.h, LLAMA_MAX_SEQ).
_SEQUENCES = 256


class LlamaCppTokenizer(Closing):
    """The tokenizer in a GGUF file; a context manager.

    ``bos`` is the token that the vocabulary puts in front of a text, None if it puts none;
    ``prefix`` what a first token is predicted from: BOS, or EOS in a vocabulary without.
    """

    name = "llama.cpp"
    version = f"{LLAMA_VERSION} ({WHEEL} {WHEEL_VERSION})"

    def __init__(self, path: Path, *, n_gpu_layers: int = 0, vocab_only: bool = True) -> None:
        self.model = Model(path, n_gpu_layers=n_gpu_layers, vocab_only=vocab_only)
        vocab = self.model.vocab
        self.n_vocab = vocab.n_tokens
        self.bos = vocab.bos if vocab.add_bos else None
        self.prefix = vocab.bos if vocab.bos >= 0 else vocab.eos

    def tokenize(self, text: str) -> TokenArray:
        """Token ids of ``text`` alone: no BOS, no EOS, control tokens read as plain text."""
        return self.model.vocab.tokenize(text)

    def close(self) -> None:
        """Free the model."""
        self.model.close()


class LlamaCppBackend(LlamaCppTokenizer):
    """A GGUF file as a source of tokens and logits; a context manager.

    ``kv`` are the types of the KV cache and flash attention, as in ContextOptions.
    """

    def __init__(
        self,
        path: Path,
        *,
        threads: int,
        n_gpu_layers: int = 0,
        kv: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(path, n_gpu_layers=n_gpu_layers, vocab_only=False)
        self._kv = kv or {}
        self.threads = threads
        self._kv = kv or {}
        self.n_ctx_train = self.model.n_ctx_train
        self._context: Context | None = None

    def together(self, width: int, rows: int) -> int:
        """How many windows of ``width`` tokens are decoded together, ``rows`` logits of each."""
        by_memory = _LOGITS_BYTES // (rows * self.n_vocab * 4)
        return max(1, min(_BATCH_TOKENS // width, by_memory, _SEQUENCES))

    def logits(self, windows: TokenArray, *, first: int) -> Iterator[tuple[int, int, LogitsArray]]:
        """Logits that predict tokens first+1 … of each window, in blocks.

        ``windows`` is [n_windows, width]; each is decoded on its own, from an empty cache. Yields
        (window, start, logits [k, n_vocab]): row i was computed at position start + i and predicts
        the token after it. Blocks come in order and cover positions first … width-2. A block is a
        view that the next one overwrites.
        """
        n_windows, width = windows.shape
        n_seq = self.together(width, width - 1 - first)
        context = self._context_of(
            ContextOptions(
                n_ctx=width,
                threads=self.threads,
                n_seq=n_seq,
                n_batch=n_seq * width if n_seq > 1 else self._step(width),
                **self._kv,
            )
        )
        for at in range(0, n_windows, n_seq):
            context.clear()
            yield from _decode(context, windows[at : at + n_seq], at=at, first=first)

    def _context_of(self, options: ContextOptions) -> Context:
        """The context of the last call if it is of the same kind: making one takes a while."""
        if self._context is None or self._context.options != options:
            if self._context is not None:
                self._context.close()
            self._context = Context(self.model, options)
        return self._context

    def _step(self, n_ctx: int) -> int:
        """Tokens per decode of a single window: whole micro-batches that fit the memory."""
        micro = ContextOptions.n_ubatch
        by_memory = _LOGITS_BYTES // (self.n_vocab * 4) // micro * micro
        return min(n_ctx, _BATCH_TOKENS, max(micro, by_memory))

    def close(self) -> None:
        """Free the context and the model."""
        if self._context is not None:
            self._context.close()
            self._context = None
        super().close()


def _decode(
    context: Context, windows: TokenArray, *, at: int, first: int
) -> Iterator[tuple[int, int, LogitsArray]]:
    """The blocks of windows that are decoded together, the first of which has number ``at``."""
    n_seq, n_ctx = windows.shape
    step = context.options.n_batch // context.options.n_seq
    for begin in range(0, n_ctx, step):
        part = windows[:, begin : begin + step]
        positions = np.arange(begin, begin + part.shape[1], dtype=np.int32)
        wanted = (positions >= first) & (positions < n_ctx - 1)
        logits = context.decode(_batch(part, positions, wanted))
        rows = int(np.count_nonzero(wanted))
        start = max(begin, first)
        for index in range(n_seq if rows else 0):
            yield at + index, start, logits[index * rows : (index + 1) * rows]


def _batch(part: TokenArray, positions: TokenArray, wanted: np.typing.NDArray[np.bool_]) -> Batch:
    n_seq, length = part.shape
    return Batch(
        part.ravel(),
        positions=np.tile(positions, n_seq),
        sequences=np.repeat(np.arange(n_seq, dtype=np.int32), length),
        outputs=np.tile(wanted, n_seq),
    )
