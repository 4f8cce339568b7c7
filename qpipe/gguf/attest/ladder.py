"""All files of a ladder in one pass over their source."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple, TypeAlias

from qpipe.gguf.attest.chunk_jobs import ChunkFinding, ChunkQuestion, ask
from qpipe.gguf.attest.contest import Contest
from qpipe.gguf.attest.trials import Trial
from qpipe.gguf.attest.ways import Way
from qpipe.gguf.chunks import OnceRead
from qpipe.gguf.file_plan import FilePlan
from qpipe.support.bounded_pool import in_order

Progress = Callable[[int, int], None]
"""Called with (bytes compared, bytes to compare) of the files' tensors."""

_Job: TypeAlias = "Callable[[], tuple[_Part, list[ChunkFinding]]]"


class _Entry(NamedTuple):
    """A tensor's trial, and the file that it is of."""

    contest: Contest
    trial: Trial


class _Part(NamedTuple):
    """A chunk of a tensor that all ``entries`` have, and whether it is the tensor's ``last``."""

    entries: Sequence[_Entry]
    chunk: int
    last: bool


def compare(
    plan: FilePlan,
    contests: Sequence[Contest],
    *,
    threads: int,
    begin: Callable[[Iterable[str]], None] = lambda names: None,
    progress: Progress = lambda done, total: None,
) -> None:
    """Fill in the trials of all files until the way of each is chosen, and known for all tensors.

    ``begin`` is told the tensors whose rows will be read, in order, before they are. What comes out
    depends neither on ``threads`` nor on which chunk is ready first, but for a source whose rows
    come but once. Raises what reading the source does.
    """
    tensors = _by_tensor(plan, contests)
    begin(tensors)
    total = sum(entry.trial.nbytes for each in tensors.values() for entry in each)
    done = 0
    with ThreadPoolExecutor(threads) as pool:
        for part, findings in in_order(pool, _first_pass(tensors), ahead=threads + 2):
            _note(part.chunk, findings)
            done += sum(_nbytes(entry.trial, part.chunk) for entry in part.entries)
            progress(done, total)
            if part.last:
                _learn(part.entries)
        for contest in contests:
            _settle(contest, pool, ahead=threads + 2)


def _by_tensor(plan: FilePlan, contests: Sequence[Contest]) -> Mapping[str, Sequence[_Entry]]:
    """The trials of each tensor that qpipe can make, in the source's order."""
    tensors: dict[str, list[_Entry]] = {output.name: [] for output in plan.outputs}
    for contest in contests:
        for name, trial in contest.trials.items():
            if trial.writable:
                tensors.setdefault(name, []).append(_Entry(contest, trial))
    return {name: entries for name, entries in tensors.items() if entries}


def _first_pass(tensors: Mapping[str, Sequence[_Entry]]) -> Iterator[_Job]:
    """Yield a job a chunk: each file's preferred way, and the others where that is not the
    file's."""
    for entries in tensors.values():
        one = entries[0].trial
        for chunk, (start, stop) in enumerate(one.spans):
            rows = one.output.rows
            if isinstance(rows, OnceRead):
                rows = rows.read(start, stop)
            part = _Part(entries, chunk, last=chunk == len(one.spans) - 1)
            yield partial(_first, part, partial(ask, rows=rows, start=start, stop=stop))


def _first(
    part: _Part, answer: Callable[[Sequence[ChunkQuestion]], list[ChunkFinding]]
) -> tuple[_Part, list[ChunkFinding]]:
    return part, answer([_question(entry) for entry in part.entries])


def _question(entry: _Entry) -> ChunkQuestion:
    contest, trial = entry
    first = trial.way(contest.preferred)
    others = [way for way in trial.alive(contest.ways) if way != first]
    return ChunkQuestion(trial, first, others, thorough=trial.read_once)


def _note(chunk: int, findings: Iterable[ChunkFinding]) -> None:
    for trial, way, gap, problem in findings:
        if problem is not None:
            trial.problem = problem
        elif way is not None:
            trial.note(way, chunk, gap)


def _learn(entries: Sequence[_Entry]) -> None:
    """Prefer another way from here on where that of a file has failed."""
    for contest, trial in entries:
        if trial.fails(trial.way(contest.preferred)):
            contest.choose()


def _settle(contest: Contest, pool: ThreadPoolExecutor, *, ahead: int) -> None:
    """Make by the chosen way what has not been made by it, until no other explains more tensors;
    then, what it does not explain, by all others that may."""
    while jobs := _left(contest.trials.values(), [contest.choose()]):
        _run(jobs, pool, ahead)
    unexplained = [t for t in contest.trials.values() if t.fails(t.way(contest.preferred))]
    _run(_left(unexplained, contest.ways, alive=True), pool, ahead)


def _left(trials: Iterable[Trial], ways: Sequence[Way], *, alive: bool = False) -> list[_Job]:
    """A job for each chunk that has not been made by these ways, of those that are still ``alive``
    alone where that is asked for."""
    jobs: list[_Job] = []
    for trial in trials:
        own = trial.alive(ways) if alive else map(trial.way, ways)
        jobs += [
            partial(_again, trial, way, chunk, alive=alive)
            for way in own
            if way is not None and trial.writable
            for chunk in trial.left(way)
        ]
    return jobs


def _again(trial: Trial, way: Way, chunk: int, *, alive: bool) -> tuple[_Part, list[ChunkFinding]]:
    part = _Part([], chunk, last=False)
    if alive and trial.fails(way):
        return part, []
    return part, ask([ChunkQuestion(trial, way)], trial.output.rows, *trial.spans[chunk])


def _run(jobs: Sequence[_Job], pool: ThreadPoolExecutor, ahead: int) -> None:
    for part, findings in in_order(pool, jobs, ahead=ahead):
        _note(part.chunk, findings)


def _nbytes(trial: Trial, chunk: int) -> int:
    start, stop = trial.spans[chunk]
    return trial.nbytes * (stop - start) // trial.spans[-1][1]
