"""Tokens for one decode."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qpipe.llamacpp.c_api import BatchStruct


class Batch:
    """Tokens with their positions and sequences; ``outputs`` marks where logits are wanted.

    Arrays of one length. Each token belongs to one sequence, or to as many as ``counts`` says:
    ``sequences`` then holds their sequences one after another. Holds the memory that ``struct``
    points into.
    """

    def __init__(
        self,
        tokens: npt.ArrayLike,
        *,
        positions: npt.ArrayLike,
        sequences: npt.ArrayLike,
        outputs: npt.ArrayLike,
        counts: npt.ArrayLike | None = None,
    ) -> None:
        self.tokens = np.ascontiguousarray(tokens, np.int32)
        self.positions = np.ascontiguousarray(positions, np.int32)
        self.sequences = np.ascontiguousarray(sequences, np.int32)
        self.outputs = np.ascontiguousarray(outputs, np.int8)
        ones = np.ones(len(self.tokens), np.int32)
        self._sequence_counts = ones if counts is None else np.ascontiguousarray(counts, np.int32)
        parts = (self.tokens, self.positions, self._sequence_counts, self.outputs)
        assert {part.shape for part in parts} == {(len(self.tokens),)}, "lengths differ"
        assert self.sequences.shape == (self._sequence_counts.sum(),), "sequences differ in number"
        self.n_outputs = int(np.count_nonzero(self.outputs))
        # llama_batch.seq_id is an array of pointers, one to each token's list of sequences.
        address, step = self.sequences.ctypes.data, self.sequences.itemsize
        first = np.cumsum(self._sequence_counts) - self._sequence_counts
        self._sequence_pointers = address + step * first.astype(np.uintp)

    def struct(self) -> BatchStruct:
        """The ``llama_batch`` of these tokens, valid as long as this object."""
        return BatchStruct(
            n_tokens=len(self.tokens),
            token=self.tokens.ctypes.data,
            embd=None,
            pos=self.positions.ctypes.data,
            n_seq_id=self._sequence_counts.ctypes.data,
            seq_id=self._sequence_pointers.ctypes.data,
            logits=self.outputs.ctypes.data,
        )
