"""A GGUF file to be: all of it but the weights, which stay where they are until it is written."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from qpipe.gguf import lattices, stream, values
from qpipe.gguf.chunks import OnceRead, OutputTensor
from qpipe.gguf.shortfall import Shortfall
from qpipe.gguf.types import GGMLType
from qpipe.support.hashing import Sealed


class Facts(TypedDict):
    """Sizes and types of a file.

    ``bits_per_weight`` is llama.cpp's BPW: all tensor data × 8 ÷ number of elements, norms and
    biases included, header and padding not (src/llama-quant.cpp, end of
    llama_model_quantize_impl).
    """

    architecture: str
    file_type: str
    types: dict[str, int]
    n_tensors: int
    n_weights: int
    tensor_bytes: int
    file_bytes: int
    bits_per_weight: float


@dataclass(frozen=True)
class FilePlan:
    """Known from headers alone.

    ``notes`` tell what of config.json GGUF leaves out, and what an importance matrix does not
    cover; that on ``shortfall``, what of its name the file does not hold, is among them. With
    ``needs_lattice`` a file in which no tensor keeps a lattice is refused.
    """

    architecture: str
    file_type: str
    metadata: values.Metadata
    outputs: list[OutputTensor]
    notes: tuple[str, ...] = ()
    shortfall: Shortfall | None = None
    needs_lattice: bool = False

    @property
    def on_lattice(self) -> list[str]:
        """The tensors that lie on a lattice of their type, as far as a sample of their weights is
        at hand."""
        return [
            output.name
            for output in self.outputs
            if output.scales == "lattice" and not isinstance(output.rows, OnceRead)
        ]

    @property
    def types(self) -> dict[str, GGMLType]:
        """The type of each tensor, in the file's order."""
        return {output.name: output.type for output in self.outputs}

    @property
    def facts(self) -> Facts:
        """Types and exact sizes."""
        n_weights = sum(math.prod(output.shape) for output in self.outputs)
        tensor_bytes = sum(output.nbytes for output in self.outputs)
        return Facts(
            architecture=self.architecture,
            file_type=self.file_type,
            types=dict(sorted(Counter(output.type.name for output in self.outputs).items())),
            n_tensors=len(self.outputs),
            n_weights=n_weights,
            tensor_bytes=tensor_bytes,
            file_bytes=stream.size(self.metadata, self.outputs),
            bits_per_weight=tensor_bytes * 8 / n_weights,
        )

    def write(
        self,
        out: Path,
        *,
        threads: int = 1,
        progress: stream.Progress | None = None,
        check: Callable[[Path], None] | None = None,
        hashed: Callable[[Sealed], None] | None = None,
    ) -> Facts:
        """Write it to ``out``; the bytes do not depend on ``threads``. Raises as `stream.write`."""
        file = self.file(out, progress=progress, check=check, hashed=hashed)
        stream.write([file], threads=threads)
        return self.facts

    def file(
        self,
        out: Path,
        *,
        progress: stream.Progress | None = None,
        check: Callable[[Path], None] | None = None,
        hashed: Callable[[Sealed], None] | None = None,
    ) -> stream.OutputFile:
        """It, to be written to ``out`` beside others of the same source."""
        return stream.OutputFile(
            out,
            self.metadata,
            self.outputs,
            progress,
            check,
            self._finish,
            # What comes out of writing stands in front of it: it is hashed when all is there.
            None if lattices.NOTED in self.metadata else hashed,
        )

    def _finish(self, written: stream.Written) -> Mapping[str, bytes]:
        kept = lattices.whole(written.kept)
        if self.needs_lattice and not kept:
            raise lattices.refusal(self.types.values())
        noted = lattices.NOTED in self.metadata
        return {lattices.NOTED: values.u32(len(kept))} if noted else {}
