"""Tokens for one decode."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qpipe.llamacpp.structs import BatchStruct


class Batch:
    """Tokens with their positions and sequences; ``outputs`` marks where logits are wanted.

    Four arrays of one length; each token belongs to one sequence. Holds the memory that
    ``struct`` points into.
    """

    def __init__(
        self,
        tokens: npt.ArrayLike,
        *,
        positions: npt.ArrayLike,
        sequences: npt.ArrayLike,
        outputs: npt.ArrayLike,
    ) -> None:
        self.tokens = np.ascontiguousarray(tokens, np.int32)
        self.positions = np.ascontiguousarray(positions, np.int32)
        self.sequences = np.ascontiguousarray(sequences, np.int32)
        self.outputs = np.ascontiguousarray(outputs, np.int8)
        parts = (self.tokens, self.positions, self.sequences, self.outputs)
        assert {part.shape for part in parts} == {(len(self.tokens),)}, "lengths differ"
        self.n_outputs = int(np.count_nonzero(self.outputs))
        self._sequence_counts = np.ones(len(self.tokens), np.int32)
        # llama_batch.seq_id is an array of pointers, one to each token's list of sequences.
        address, step = self.sequences.ctypes.data, self.sequences.itemsize
        self._sequence_pointers = address + step * np.arange(len(self.tokens), dtype=np.uintp)

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
