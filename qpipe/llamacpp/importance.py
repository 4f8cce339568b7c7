"""An importance matrix from a text: what llama-imatrix does, in this process.

Windows, batches and the order of sums are those of tools/imatrix/imatrix.cpp in llama.cpp
(compute_imatrix), so that the same machine code gives the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qpipe.errors import DataError
from qpipe.llamacpp.batch import Batch
from qpipe.llamacpp.context import ContextOptions, LlamaContext
from qpipe.llamacpp.model import Model, TokenArray
from qpipe.llamacpp.moments import Moments, SquareSums
from qpipe.llamacpp.observe import Watch

# llama-imatrix's default --batch-size.
_BATCH_TOKENS = 2048
# The least calibration.length (ImatrixParams).
_SHORTEST = 16
# Logits of all tokens of a batch are computed (without them llama.cpp 0.6.0-dev skips most of the
# last layer); beyond this many bytes the batch is made smaller.
_LOGITS_BYTES = 512 << 20

Progress = Callable[[int, int], None]
"""Called with (tokens done, tokens in all)."""


@dataclass(frozen=True)
class Importance:
    """Importances collected: ``entries`` by tensor, from ``chunks`` windows of ``n_ctx`` tokens.

    The text had ``text_tokens`` tokens, BOS included, and so ``available`` windows.
    """

    entries: Mapping[str, SquareSums]
    chunks: int
    n_ctx: int
    available: int
    text_tokens: int
    n_ctx_train: int

    @property
    def tokens(self) -> int:
        """The number of tokens that the model was given."""
        return self.chunks * self.n_ctx

    @property
    def unseen(self) -> dict[str, list[int]]:
        """The experts of each tensor that no token reached."""
        missing = {
            name: np.flatnonzero(entry.counts == 0).tolist() for name, entry in self.entries.items()
        }
        return {name: experts for name, experts in missing.items() if experts}

    @property
    def short(self) -> dict[str, int]:
        """Tokens that reached a tensor, where they are fewer than given; tensors of experts aside,
        of which each gets only its share."""
        dense = {n: int(e.counts[0]) for n, e in self.entries.items() if len(e.counts) == 1}
        return {name: count for name, count in dense.items() if count < self.tokens}


def importance(
    model: Path,
    text: str,
    *,
    n_ctx: int,
    chunks: int | None,
    threads: int,
    with_output: bool = False,
    parse_special: bool = False,
    progress: Progress | None = None,
) -> Importance:
    """The importance matrix of the GGUF file ``model`` on ``text``.

    Takes the first ``chunks`` windows (None: all, as it also does where there are fewer).
    ``parse_special`` reads the spelling of control tokens as these tokens. Raises
    EngineMissingError, CheckpointError (the file), DataError (the text, or activations that are no
    finite numbers).
    """
    with Model(model) as loaded:
        vocab = loaded.vocab
        bos = vocab.bos if vocab.add_bos else None
        tokens = vocab.tokenize(text.removesuffix("\n"), parse_special=parse_special)
        if bos is not None:
            tokens = np.concatenate([np.array([bos], np.int32), tokens])
        windows = _windows(tokens, n_ctx, bos)
        selection = windows[:chunks]
        moments = Moments(with_output=with_output)
        _decode(loaded, selection, Watch(loaded.lib, moments), threads=threads, progress=progress)
        return Importance(
            entries=dict(sorted(moments.entries.items())),
            chunks=len(selection),
            n_ctx=n_ctx,
            available=len(windows),
            text_tokens=len(tokens),
            n_ctx_train=loaded.n_ctx_train,
        )


def _windows(tokens: TokenArray, n_ctx: int, bos: int | None) -> TokenArray:
    """[windows, n_ctx] without overlap; BOS replaces the first token of each."""
    count = len(tokens) // n_ctx
    if count < 2:
        less = len(tokens) // 2
        remedy = f", or set calibration.length to {less} or less" if less >= _SHORTEST else ""
        raise DataError(
            f"the text has {len(tokens)} tokens, and an importance matrix needs at least two "
            f"windows of {n_ctx}: give a longer text{remedy}"
        )
    windows = tokens[: count * n_ctx].reshape(count, n_ctx).copy()
    if bos is not None:
        windows[:, 0] = bos
    return windows


def _decode(
    model: Model,
    windows: TokenArray,
    watch: Watch,
    *,
    threads: int,
    progress: Progress | None,
) -> None:
    count, n_ctx = windows.shape
    micro = ContextOptions.n_ubatch
    by_memory = _LOGITS_BYTES // (4 * model.vocab.n_tokens) // micro * micro
    at_once = min(_BATCH_TOKENS, max(micro, by_memory))
    n_seq = max(1, min(count, at_once // n_ctx))
    step = min(n_ctx, at_once)
    options = ContextOptions(n_ctx=n_ctx, threads=threads, n_seq=n_seq, n_batch=n_seq * step)
    with LlamaContext(model, options, watch=watch) as context:
        for at in range(0, count, n_seq):
            context.clear()
            group = windows[at : at + n_seq]
            for begin in range(0, n_ctx, step):
                part = group[:, begin : begin + step]
                context.decode(_batch(part, begin))
                if progress:
                    progress(at * n_ctx + len(group) * (begin + part.shape[1]), windows.size)


def _batch(part: TokenArray, begin: int) -> Batch:
    """Window after window, each a sequence of its own, from position ``begin`` on."""
    n_seq, length = part.shape
    return Batch(
        part.ravel(),
        positions=np.tile(np.arange(begin, begin + length, dtype=np.int32), n_seq),
        sequences=np.repeat(np.arange(n_seq, dtype=np.int32), length),
        outputs=np.ones(part.size),
    )
