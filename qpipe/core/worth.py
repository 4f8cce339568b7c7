"""What gc removes first: what costs the fewest seconds per byte to make again."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Collection as Stages
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

# Bytes up to which an artifact of a stage that goes last does so; larger ones are weighed as all.
_SMALL = 1 << 20

AGE, SIZE = "age", "size"
"""Why an artifact is removed."""


@dataclass(frozen=True)
class Candidate:
    """An artifact as gc sees it; times in seconds.

    ``size`` is the bytes that removing it frees; of a kept one, its share of what the store holds.
    ``why`` a removed one goes is ``age`` or ``size``; ``spared`` is why a kept one cannot go.
    ``linked`` is the bytes of a kept one that links from elsewhere hold too: they are not in
    ``size``.
    """

    key: str
    name: str
    size: int
    last_used: float
    rebuild_seconds: float
    stage: str = ""
    spared: str | None = None
    why: str | None = None
    linked: int = 0

    @property
    def worth(self) -> float:
        """Seconds to make it again, per byte that it takes."""
        return self.rebuild_seconds / max(1, self.size)


@dataclass(frozen=True)
class Collection:
    """The artifacts that gc removed (or would), the least worth first, and those that it kept."""

    removed: Sequence[Candidate]
    kept: Sequence[Candidate]

    @property
    def freed(self) -> int:
        """Bytes of the removed artifacts."""
        return sum(c.size for c in self.removed)

    @property
    def rebuild_seconds(self) -> float:
        """Seconds that making the removed artifacts again would take, by what they took."""
        return sum(c.rebuild_seconds for c in self.removed)


@dataclass(frozen=True)
class Weighed:
    """An artifact as a candidate, and its files by inode: (bytes, number of links)."""

    candidate: Candidate
    inodes: Mapping[tuple[int, int], tuple[int, int]]


@dataclass(frozen=True)
class Limits:
    """Limits of what may stay: at most ``max_size`` bytes, nothing unused for ``max_age`` seconds.

    Small artifacts of the stages ``last`` go after all others."""

    max_size: int | None = None
    max_age: float | None = None
    last: Stages[str] = ()


def choose(weighed: Sequence[Weighed], spared: Mapping[str, str], limits: Limits) -> Collection:
    """Choose what goes: what is too old, then what is least worth until the rest is small enough.

    Of the latter, what would fit after all stays, the most worth first. ``spared`` says by key why
    an artifact stays whatever it is.
    """
    holders = _Holders(weighed)
    order = sorted(weighed, key=lambda one: _rank(holders.sized(one), limits.last))
    free = [one for one in order if one.candidate.key not in spared]
    oldest = None if limits.max_age is None else time.time() - limits.max_age
    old = [one for one in free if oldest is not None and one.candidate.last_used < oldest]
    reasons = dict.fromkeys((one.candidate.key for one in old), AGE)
    for one in old:
        holders.release(one)
    young = [one for one in free if one.candidate.key not in reasons]
    surplus = _surplus(young, holders, limits.max_size)
    reasons.update(dict.fromkeys((one.candidate.key for one in surplus), SIZE))
    return _collection(order, reasons, spared)


def _rank(candidate: Candidate, last: Stages[str]) -> tuple[bool, float, float, str]:
    """The order of going: by worth, and of about the same worth (the same power of two: no two
    take the very same time) the least recently used."""
    stays = candidate.stage in last and candidate.size <= _SMALL
    worth = round(math.log2(candidate.worth)) if candidate.worth > 0 else -math.inf
    return stays, worth, candidate.last_used, candidate.key


def _surplus(
    order: Sequence[Weighed], holders: _Holders, max_size: int | None
) -> Sequence[Weighed]:
    """Choose what has to go for at most ``max_size`` bytes to be left."""
    if max_size is None:
        return []
    chosen: list[Weighed] = []
    for one in order:
        if holders.total <= max_size:
            break
        holders.release(one)
        chosen.append(one)
    # A large one at last may have made room for small ones that went before it.
    going: list[Weighed] = []
    for one in reversed(chosen):
        holders.retain(one)
        if holders.total > max_size:
            holders.release(one)
            going.append(one)
    return going


def _collection(
    order: Sequence[Weighed], reasons: Mapping[str, str], spared: Mapping[str, str]
) -> Collection:
    holders = _Holders(order)
    removed = [
        replace(one.candidate, size=holders.release(one), why=reasons[one.candidate.key])
        for one in order
        if one.candidate.key in reasons
    ]
    kept = [
        replace(holders.sized(one), spared=spared.get(one.candidate.key))
        for one in order
        if one.candidate.key not in reasons
    ]
    return Collection(removed, kept)


class _Holders:
    """Counts of the artifacts that hold each file, so that a shared one counts once, and is freed
    when the last of them goes. A file that is also linked from outside frees nothing.

    ``total`` is the bytes that removing every artifact would free.
    """

    def __init__(self, weighed: Iterable[Weighed]) -> None:
        self._sizes: dict[tuple[int, int], int] = {}
        self._outside: dict[tuple[int, int], int] = {}
        self._held: Counter[tuple[int, int]] = Counter()
        links: dict[tuple[int, int], int] = {}
        for one in weighed:
            for inode, (size, count) in one.inodes.items():
                self._held[inode] += 1
                self._sizes[inode], links[inode] = size, count
        for inode, count in links.items():
            if count > self._held[inode]:
                self._outside[inode], self._sizes[inode] = self._sizes[inode], 0
        self.total = sum(self._sizes.values())

    def release(self, one: Weighed) -> int:
        """Take an artifact away; the bytes that this frees."""
        freed = 0
        for inode in one.inodes:
            self._held[inode] -= 1
            freed += 0 if self._held[inode] else self._sizes[inode]
        self.total -= freed
        return freed

    def retain(self, one: Weighed) -> None:
        """Put an artifact back that was released."""
        for inode in one.inodes:
            self.total += 0 if self._held[inode] else self._sizes[inode]
            self._held[inode] += 1

    def sized(self, one: Weighed) -> Candidate:
        """The candidate with its bytes, a shared file divided among its holders."""
        size = sum(self._sizes[inode] // self._held[inode] for inode in one.inodes)
        linked = sum(self._outside.get(inode, 0) for inode in one.inodes)
        return replace(one.candidate, size=size, linked=linked)
