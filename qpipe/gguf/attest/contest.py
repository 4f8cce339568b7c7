"""A published file beside its source: a trial for each of its tensors, and the way that explains
most of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from qpipe.gguf import lattices, values
from qpipe.gguf.attest import ways
from qpipe.gguf.attest.trials import Trial
from qpipe.gguf.attest.ways import Way
from qpipe.gguf.chunks import OnceRead, OutputTensor
from qpipe.gguf.file_plan import FilePlan
from qpipe.gguf.imatrix import IMatrix
from qpipe.gguf.reader import GGUFFile
from qpipe.gguf.rows import GGUFRows
from qpipe.gguf.types import GGMLType

EMBEDDINGS, HEAD = "token_embd.weight", "output.weight"
IMATRIX_FILE = "quantize.imatrix.file"


def noted_imatrix(file: GGUFFile) -> str | None:
    """The path of the importance matrix that a file notes, None if it notes none."""
    if IMATRIX_FILE not in file.metadata:
        return None
    return str(values.decode(file.metadata[IMATRIX_FILE], limit=1))


@dataclass(eq=False)
class Contest:
    """A published ``file``, the importance matrix that is at hand for it, and its ``trials``, by
    tensor. ``shapes`` are those of the source's tensors that have other ones in the file;
    ``missing`` are tensors that the source gives and the file lacks, ``extra`` the other way round.
    """

    file: GGUFFile
    imatrix: IMatrix | None
    trials: Mapping[str, Trial]
    shapes: Mapping[str, tuple[int, ...]]
    missing: Sequence[str]
    extra: Sequence[str]
    ways: Sequence[Way]
    preferred: Way = field(init=False)

    def __post_init__(self) -> None:
        """Begin with the way that the metadata speak for."""
        self.preferred = self.ways[0]

    def choose(self) -> Way:
        """The way by which the fewest tensors are surely not as in the file, the first of
        several."""
        self.preferred = min(self.ways, key=self._failures)
        return self.preferred

    def _failures(self, way: Way) -> int:
        return sum(trial.fails(trial.way(way)) for trial in self.trials.values() if trial.writable)


def contest(plan: FilePlan, file: GGUFFile, imatrix: IMatrix | None) -> Contest:
    """Set a file beside what the source would be in F16, ``plan``. Raises `DataError` for an
    importance matrix of another model."""
    planned = {output.name: output for output in plan.outputs}
    embeddings = planned.get(EMBEDDINGS)
    again = embeddings is not None and not isinstance(embeddings.rows, OnceRead)
    if HEAD in file.tensors and HEAD not in planned and embeddings is not None and again:
        planned[HEAD] = replace(embeddings, name=HEAD)  # a tied head, written once more
    present = file.entries
    same = [
        tensor
        for name, tensor in file.tensors.items()
        if name in planned and tensor.shape == planned[name].shape
    ]
    shapes = {
        name: planned[name].shape
        for name, tensor in present.items()
        if name in planned and tensor.shape != planned[name].shape
    }
    trials = {}
    for tensor in same:
        output = _typed(planned[tensor.name], tensor.type, imatrix)
        trials[tensor.name] = Trial(output, GGUFRows(file, tensor))
    return Contest(
        file,
        imatrix,
        trials,
        shapes,
        missing=[name for name in planned if name not in present],
        extra=[name for name in present if name not in planned],
        ways=ways.ways(
            has_imatrix=imatrix is not None,
            noted_imatrix=noted_imatrix(file) is not None,
            noted_lattice=lattices.NOTED in file.metadata,
        ),
    )


def _typed(output: OutputTensor, kind: GGMLType, imatrix: IMatrix | None) -> OutputTensor:
    known = None if imatrix is None else imatrix.of(output.name, output.shape)
    return replace(output, type=kind, via=output.type, imatrix=known)
