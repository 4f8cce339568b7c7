"""Windows of tokens in, logits out: what computes them with a share of the threads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from qpipe.llamacpp.batch import Batch
from qpipe.llamacpp.context import ContextOptions, LlamaContext, LogitsArray
from qpipe.llamacpp.model import Model, TokenArray
from qpipe.support.closable import Closable

# What all lanes together keep in their caches: llama-perplexity's default --batch-size.
_TOKENS = 2048
# Windows decoded together fill a micro-batch; more were not faster. Two of them at least, so that a
# window alone is another computation (`qpipe.evaluators.logprobs`, the noise floor).
_TOGETHER = 512
# Logits beyond this are asked for in several decodes (256 rows of 150,000 words are 150 MB).
_LOGITS_BYTES = 512 << 20
# What a context takes at most (src/llama-cparams.h, LLAMA_MAX_SEQ).
_SEQUENCES = 256


class LlamaCppLane(Closable):
    """A context of its own for a model that others may use at the same time; a context manager.

    ``kv`` are the types of the KV cache and flash attention, as in ContextOptions.
    """

    def __init__(self, model: Model, *, threads: int, kv: Mapping[str, Any]) -> None:
        self.model, self.threads = model, threads
        self._kv = kv
        self._context: LlamaContext | None = None

    def logits(self, windows: TokenArray, *, first: int) -> Iterator[tuple[int, int, LogitsArray]]:
        """Logits that predict tokens first+1 … of each window, in blocks.

        ``windows`` is [n_windows, width]; each is decoded on its own, from an empty cache. Yields
        (window, start, logits [k, n_vocab]): row i was computed at position start + i and predicts
        the token after it. Blocks come in order and cover positions first … width-2. A block is a
        view that the next one overwrites.
        """
        n_windows, width = windows.shape
        n_vocab = self.model.vocab.n_tokens
        n_seq = together(width, width - 1 - first, n_vocab=n_vocab)
        context = self._context_of(
            ContextOptions(
                n_ctx=width,
                threads=self.threads,
                n_seq=n_seq,
                n_batch=n_seq * width if n_seq > 1 else _step(width, n_vocab=n_vocab),
                **self._kv,
            )
        )
        for at in range(0, n_windows, n_seq):
            context.clear()
            yield from _decode(context, windows[at : at + n_seq], at=at, first=first)

    def _context_of(self, options: ContextOptions) -> LlamaContext:
        """The context of the last call if it is of the same kind: making one takes a while."""
        if self._context is None or self._context.options != options:
            self.close()
            self._context = LlamaContext(self.model, options)
        return self._context

    def close(self) -> None:
        """Free the context."""
        if self._context is not None:
            self._context.close()
            self._context = None


def filling(width: int) -> int:
    """The number of windows of ``width`` tokens decoded together where their logits find room."""
    return max(1, min(max(2, _TOGETHER // width), _TOKENS // width, _SEQUENCES))


def together(width: int, rows: int, *, n_vocab: int) -> int:
    """The number of windows of ``width`` tokens decoded together, ``rows`` logits of each."""
    return max(1, min(filling(width), _at_a_time(rows, n_vocab)))


def shares(threads: int, width: int, rows: int, *, n_vocab: int, most: int) -> list[int]:
    """The threads of each lane; as many lanes as have room, since fewer threads wait less for each
    other, but ``most`` at most."""
    windows = min(_TOKENS // width, _at_a_time(rows, n_vocab))
    lanes = max(1, min(threads, windows // together(width, rows, n_vocab=n_vocab), most))
    return [threads // lanes + (lane < threads % lanes) for lane in range(lanes)]


def _at_a_time(rows: int, n_vocab: int) -> int:
    """Windows whose logits fit the memory."""
    return _LOGITS_BYTES // (rows * n_vocab * 4)


def _step(n_ctx: int, *, n_vocab: int) -> int:
    """Tokens per decode of a single window: whole micro-batches that fit the memory."""
    micro = ContextOptions.n_ubatch
    by_memory = _LOGITS_BYTES // (n_vocab * 4) // micro * micro
    return min(n_ctx, _TOKENS, max(micro, by_memory))


def _decode(
    context: LlamaContext, windows: TokenArray, *, at: int, first: int
) -> Iterator[tuple[int, int, LogitsArray]]:
    """The blocks of windows that are decoded together, the first of which has number ``at``."""
    n_seq, n_ctx = windows.shape
    step = context.options.n_batch // context.options.n_seq
    for begin in range(0, n_ctx, step):
        part = windows[:, begin : begin + step]
        positions = np.arange(begin, begin + part.shape[1], dtype=np.int32)
        scored = (positions >= first) & (positions < n_ctx - 1)
        logits = context.decode(_batch(part, positions, scored))
        rows = int(np.count_nonzero(scored))
        start = max(begin, first)
        for index in range(n_seq if rows else 0):
            yield at + index, start, logits[index * rows : (index + 1) * rows]


def _batch(part: TokenArray, positions: TokenArray, scored: np.typing.NDArray[np.bool_]) -> Batch:
    n_seq, length = part.shape
    return Batch(
        part.ravel(),
        positions=np.tile(positions, n_seq),
        sequences=np.repeat(np.arange(n_seq, dtype=np.int32), length),
        outputs=np.tile(scored, n_seq),
    )
