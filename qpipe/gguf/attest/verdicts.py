"""What comes out of a contest: a verdict on each tensor of a file, and on the file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from qpipe.gguf.attest import ways
from qpipe.gguf.attest.contest import Contest, noted_imatrix
from qpipe.gguf.attest.trials import Trial
from qpipe.gguf.attest.ways import Way
from qpipe.gguf.categories import Category, category_of

Status = Literal["identical", "different", "missing", "extra", "not_comparable"]
Reading = Literal["rounding", "changed", "same_weights", "other_weights", "other_shape"]
"""Few blocks, as near to the source as ours: another compiler's or version's rounding. Few, and far
off: changed afterwards. Many: the same weights in another way, or other weights."""

_FEW, _CLOSE, _NEAR = 0.02, 1.05, 1.5
_MOST = 0.5
_LAST_BITS = 2.0**-7  # two roundings to BF16


@dataclass(frozen=True)
class TensorVerdict:
    """A tensor in the file's ``type`` (None where it has none) and shape in ggml's order.

    ``why`` says what is different beside the bytes, or why they cannot be compared; ``instead`` is
    a way by which they would be identical and the rest of the file is not. Of bytes that differ:
    the share of ``blocks`` that do, and within them ‖file − ours‖ ÷ ‖ours‖ (``apart``) and the
    errors ‖q − x‖ ÷ ‖x‖ of the file's numbers and of ours to the source's; ``reading`` is what
    these speak for.
    """

    name: str
    type: str | None
    shape: Sequence[int] | None
    status: Status
    why: str | None = None
    instead: Way | None = None
    blocks: float | None = None
    apart: float | None = None
    error: float | None = None
    our_error: float | None = None
    reading: Reading | None = None


def verdicts(contest: Contest) -> list[TensorVerdict]:
    """A verdict on each tensor of the file, in its order, then on those that it lacks."""
    return [*_present(contest), *_missing(contest)]


def other_source(tensors: Sequence[TensorVerdict]) -> bool:
    """True if a file is probably not made from the source, most matrices being far off."""
    matrices = [t for t in tensors if t.shape is not None and len(t.shape) > 1]
    known = [t for t in matrices if t.status in ("identical", "different")]
    far = [t for t in known if t.reading in ("other_weights", "other_shape")]
    return len(far) > _MOST * len(known)


def _present(contest: Contest) -> Iterator[TensorVerdict]:
    file = contest.file
    for name, tensor in file.entries.items():
        shape = [*reversed(tensor.shape)]
        unread = file.unread.get(name)
        kind = str(unread.number) if unread is not None else file.tensors[name].type.name
        if name in contest.extra:
            why = "the source gives none of this name"
            yield TensorVerdict(name, kind, shape, "extra", why)
        elif name in contest.shapes:
            wanted = " × ".join(map(str, reversed(contest.shapes[name])))
            why = f"the source's is {wanted}"
            yield TensorVerdict(name, kind, shape, "different", why, reading="other_shape")
        elif unread is not None:
            why = f"type number {unread.number} is not known here"
            yield TensorVerdict(name, kind, shape, "not_comparable", why)
        else:
            yield _tried(contest, name, contest.trials[name])


def _missing(contest: Contest) -> Iterator[TensorVerdict]:
    for name in contest.missing:
        yield TensorVerdict(
            name, None, None, "missing", "the source gives it, and the file has none"
        )


def _tried(contest: Contest, name: str, trial: Trial) -> TensorVerdict:
    kind, shape = trial.output.type.name, [*reversed(trial.output.shape)]
    if not trial.writable:
        why = f"qpipe does not write the type {kind}"
        return TensorVerdict(name, kind, shape, "not_comparable", why)
    if trial.problem is not None:
        return TensorVerdict(name, kind, shape, "not_comparable", trial.problem)
    way = trial.way(contest.preferred)
    if not trial.fails(way):
        return TensorVerdict(name, kind, shape, "identical")
    if untold := _untold(contest, name, trial, way):
        return TensorVerdict(name, kind, shape, "not_comparable", untold)
    verdict = _different(contest, name, trial, way)
    if ways.is_packed(trial.output) and _is_near(verdict):
        why = "the source's weights are packed, and tools unpack them to other last bits"
        return replace(verdict, status="not_comparable", why=why)
    return verdict


def _is_near(verdict: TensorVerdict) -> bool:
    """True of what weights make that are the same up to the last bits of BF16."""
    same = verdict.reading in ("rounding", "same_weights")
    return same or (verdict.apart is not None and verdict.apart <= _LAST_BITS)


def _untold(contest: Contest, name: str, trial: Trial, way: Way | None) -> str | None:
    """Why it cannot be said whether a tensor is made from the source, None if it can."""
    kind = trial.output.type
    listens = ways.listens(kind) and category_of(name) is not Category.EMBEDDING
    noted = noted_imatrix(contest.file)
    if listens and contest.imatrix is None and (noted is not None or way is None):
        return "not comparable without the importance matrix"
    if way is None:
        return f"{kind.name} cannot be written without importances, and the matrix has none for it"
    return None


def _different(contest: Contest, name: str, trial: Trial, way: Way | None) -> TensorVerdict:
    assert way is not None, name
    output, gap = trial.output, trial.gap(way)
    per_row = output.shape[-1] // output.type.block
    rows = sum(stop - start for start, stop in map(trial.spans.__getitem__, trial.checked[way]))
    share = gap.blocks / (rows * per_row)
    error, ours = gap.relative("error"), gap.relative("our_error")
    instead = next((w for w in contest.ways if not trial.fails(trial.way(w))), None)
    reading: Reading | None = "same_weights" if instead is not None else None
    return TensorVerdict(
        name,
        output.type.name,
        [*reversed(output.shape)],
        "different",
        None if gap.finite else "it holds numbers that are not finite",
        instead,
        float(f"{share:.3g}"),
        gap.relative("apart"),
        error,
        ours,
        reading or _reading(error, ours, few=share <= _FEW or gap.blocks == 1),
    )


def _reading(error: float | None, ours: float | None, *, few: bool) -> Reading | None:
    """The reading that the errors of the file's numbers and of ours, to the source's, speak for."""
    if few and (error is None or ours is None or error > _CLOSE * ours):
        return "changed"
    if error is None or ours is None:
        return None
    if few:
        return "rounding"
    return "same_weights" if error <= _NEAR * ours else "other_weights"
