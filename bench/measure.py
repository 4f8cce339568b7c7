"""Rows of a comparison, and fair timing: interleaved rounds, medians."""

from __future__ import annotations

import resource
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median


@dataclass(frozen=True)
class Row:
    """One measurement of ours, with a peer's beside it where there is one.

    ``limit`` bounds the ratio ours / theirs if there is a peer, else ours itself; None: shown only.
    """

    what: str
    ours: float
    unit: str
    peer: str | None = None
    theirs: float | None = None
    limit: float | None = None

    @property
    def ratio(self) -> float | None:
        """Ours / theirs."""
        return None if self.theirs is None else self.ours / self.theirs

    @property
    def ok(self) -> bool | None:
        """Whether the limit is kept, None without one."""
        if self.limit is None:
            return None
        return (self.ours if self.ratio is None else self.ratio) <= self.limit


@dataclass(frozen=True)
class Bench:
    """What every benchmark is given: the two environments, a folder to work in, and rounds."""

    python: Path
    peers: Path
    folder: Path
    rounds: int

    @property
    def qpipe(self) -> Path:
        """The console script of the environment that is measured."""
        return self.python.parent / "qpipe"

    def sub(self, name: str) -> Path:
        """A folder of this benchmark's own."""
        path = self.folder / name
        path.mkdir(parents=True, exist_ok=True)
        return path


def call(
    command: Sequence[object],
    *,
    cwd: Path,
    env: Mapping[str, str] | None = None,
) -> str:
    """The stdout of a command. Raises RuntimeError with the end of its stderr if it fails."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        end = "\n".join(done.stderr.splitlines()[-15:])
        raise RuntimeError(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{end}")
    return done.stdout


@dataclass(frozen=True)
class Spent:
    """What processes took: CPU and wall seconds, and the bytes that they wrote to disk."""

    cpu: float
    wall: float
    written: int

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.cpu + other.cpu, self.wall + other.wall, self.written + other.written)


def spent(work: Callable[[], object]) -> Spent:
    """What one call takes in processes that it starts and waits for, theirs included."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    work()
    after, ended = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Spent(cpu, ended - started, (after.ru_oublock - before.ru_oublock) * 512)


def seconds(work: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def interleaved(works: Mapping[str, Callable[[], object]], *, rounds: int) -> dict[str, float]:
    """Median wall seconds of each work, run in turn, round after round, after one unmeasured."""
    for work in works.values():
        work()
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            taken[name].append(seconds(work))
    return {name: median(times) for name, times in taken.items()}
