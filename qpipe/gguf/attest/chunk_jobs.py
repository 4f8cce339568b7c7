"""One chunk of a tensor's rows, made in the types of all files and compared with their bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from qpipe import errors
from qpipe.gguf import lattices, quantizers
from qpipe.gguf.attest import gaps, ways
from qpipe.gguf.attest.gaps import Gap
from qpipe.gguf.attest.trials import Trial
from qpipe.gguf.attest.ways import Way
from qpipe.gguf.chunks import Bytes, ChunkWeights, OutputTensor, Rows


@dataclass(frozen=True)
class ChunkQuestion:
    """A tensor of a file, and the ways in which a chunk of it is made: ``first``, and where that is
    not the file's, or ``thorough`` is asked for, the ``others``."""

    trial: Trial
    first: Way | None
    others: Sequence[Way] = ()
    thorough: bool = False


class ChunkFinding(NamedTuple):
    """The outcome of one way: the ``gap``, if there is any. A ``problem``: the source's rows
    cannot be used."""

    trial: Trial
    way: Way | None
    gap: Gap | None
    problem: str | None = None


def ask(
    questions: Sequence[ChunkQuestion], rows: Rows, start: int, stop: int
) -> list[ChunkFinding]:
    """Make the rows from ``start`` to ``stop`` of one tensor for all that is asked; what questions
    have in common is computed once."""
    maker = _Maker(ChunkWeights(rows, start, stop))
    try:
        return [answer for question in questions for answer in _answer(question, maker)]
    except errors.CheckpointError as error:
        return [ChunkFinding(question.trial, None, None, str(error)) for question in questions]


def _answer(question: ChunkQuestion, maker: _Maker) -> list[ChunkFinding]:
    trial, source = question.trial, maker.weights
    theirs = trial.published.raw(source.start, source.stop)
    answers: list[ChunkFinding] = []
    for way in (question.first, *question.others):
        if way is None:
            continue
        output = ways.as_written(way, trial.output)
        ours = maker.made(output)
        # What cannot be written so, for weights beyond the type's range, is not the file's.
        gap = gaps.gap(theirs, ours, source.exact(), output.type) if ours is not None else Gap()
        answers.append(ChunkFinding(trial, way, gap))
        if gap is None and not question.thorough:
            break
    return answers


@dataclass
class _Maker:
    """The rows of one chunk in types, each made once."""

    weights: ChunkWeights
    _made: dict[object, Bytes | None] = field(default_factory=dict)

    def made(self, output: OutputTensor) -> Bytes | None:
        """The rows as a tensor is to be written; None if some weight is too large for it."""
        importances = output.imatrix
        place = None if importances is None else importances.ctypes.data
        key = output.type, output.via, output.scales, place
        if key not in self._made:
            try:
                self._made[key] = _make(output, self.weights)
            except OverflowError:
                self._made[key] = None
        return self._made[key]


def _make(output: OutputTensor, weights: ChunkWeights) -> Bytes:
    if ways.is_copied(output):
        return weights.rows.raw(weights.start, weights.stop)
    importances = output.imatrix
    if importances is not None:
        importances = importances[weights.start // output.matrix_rows]
    numbers = weights.through(output.via)
    made = quantizers.quantizer(output.type)(numbers, imatrix=importances)
    if output.scales == "lattice":
        lattices.keep(numbers, made, output.type)
    return made
