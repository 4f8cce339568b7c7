"""A text's tokens, cut into windows as a protocol says."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from qpipe.errors import DataError
from qpipe.evaluators.metrics.backend import Backend, Tokens
from qpipe.evaluators.protocols import Protocol


@dataclass(frozen=True)
class Windows:
    """``tokens`` [n_windows, n_ctx] as the model sees them, BOS in its place.

    ``available`` windows were in the text, of ``text_tokens`` tokens; ``first`` is the first
    position whose logits are used.
    """

    tokens: Tokens
    first: int
    available: int
    text_tokens: int

    @property
    def sha256(self) -> str:
        """Of the token ids as little-endian int32: equal for all that was measured on the same."""
        return hashlib.sha256(self.tokens.astype("<i4").tobytes()).hexdigest()

    def targets(self, window: int, start: int, count: int) -> Tokens:
        """The tokens that logits at positions start … start+count-1 predict."""
        return self.tokens[window, start + 1 : start + 1 + count]


def cut(text: str, backend: Backend, protocol: Protocol) -> Windows:
    """Tokenize the whole text once and cut it.

    Raises DataError if the text is empty or has fewer tokens than one window.
    """
    if protocol.strip_final_newline:
        text = text.removesuffix("\n")
    if not text:
        raise DataError("the text to measure is empty: give a text with evaluate.text")
    tokens = backend.tokenize(text)
    if protocol.text_bos and backend.bos is not None:
        tokens = np.concatenate([np.array([backend.bos], np.int32), tokens])
    prepend = protocol.bos == "prepend" and backend.bos is not None
    size = protocol.n_ctx - prepend
    stride = protocol.stride or size
    available = (len(tokens) - size) // stride + 1 if len(tokens) >= size else 0
    if not available:
        raise DataError(
            f"the text has {len(tokens)} tokens, and one window of protocol {protocol.label} needs "
            f"{size}: give a longer text, or set evaluate.n_ctx to {len(tokens)} or less"
        )
    count = min(available, protocol.chunks or available)
    cuts = np.lib.stride_tricks.sliding_window_view(tokens, size)[::stride][:count]
    return Windows(_with_bos(cuts, protocol, backend.bos), protocol.first, available, len(tokens))


def _with_bos(cuts: Tokens, protocol: Protocol, bos: int | None) -> Tokens:
    if bos is None or protocol.bos == "none":
        return np.ascontiguousarray(cuts)
    if protocol.bos == "prepend":
        return np.insert(cuts, 0, bos, axis=1)
    replaced = cuts.copy()
    replaced[:, 0] = bos
    return replaced
