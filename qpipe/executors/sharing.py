"""How the qpipe processes of a machine share it.

GPUs are never shared. Memory is booked in bytes, of all together as much as there is. Both go to
whoever asked first: what an earlier one waits for is not given to a later one, so that a run that
needs the whole machine gets its turn. Of cores each process may always use as many as one worker
takes, so that no run stands still behind a long one; more workers of a process start on cores that
no other has booked.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from qpipe.core.graph import Resources
from qpipe.executors.booking import VARIABLE, Book, BookedFile, Booking
from qpipe.machine import cgroups
from qpipe.machine.capacity import host_memory

_MOST_NAMED = 3


@dataclass(frozen=True)
class MachineRoom:
    """All that may be booked: ``cpus`` cores, ``memory`` bytes (None: without end), and what the
    host has of it, whatever bounds this process."""

    cpus: int
    memory: int | None
    host_memory: int = field(default_factory=host_memory)


@dataclass(frozen=True)
class Refusal:
    """Why there is no room: what is waited for, held by whom; ``holders`` is empty where a process
    only has asked earlier."""

    what: str
    holders: Sequence[Booking] = ()
    earlier: Sequence[Booking] = ()

    def __str__(self) -> str:
        """In words, as ``for a GPU, held by pid 12 (run X)``."""
        if not self.what:
            return ""
        if self.holders:
            return f"for {self.what}, held by {_named(self.holders)}"
        return f"for {self.what}, after {_named(self.earlier)}, which asked first"


def decide(
    wish: Booking, entries: Iterable[Booking], whole: MachineRoom, *, first: bool
) -> tuple[str, ...] | Refusal:
    """The cards that are given, among ``wish.gpus``, or why nothing is.

    ``first`` is whether the process has no worker yet. A wish that waits has its place in
    ``since``; it is not among the ``entries``.
    """
    held = [entry for entry in entries if not entry.waiting]
    earlier = [e for e in entries if e.waiting and e.place < wish.place]
    given = _cards(wish, held, earlier)
    if isinstance(given, Refusal):
        return given
    if refusal := _lacks_memory(wish, held, earlier, whole):
        return refusal
    beside = [entry for entry in held if not entry.cores or {*entry.cores} & {*wish.cores}]
    taken = sum(min(entry.cpus, whole.cpus) for entry in beside)
    if not first and taken + min(wish.cpus, whole.cpus) > whole.cpus:
        return Refusal("")  # one's own workers go on: nothing to tell of
    return given


def _cards(
    wish: Booking, held: Sequence[Booking], earlier: Sequence[Booking]
) -> tuple[str, ...] | Refusal:
    taken = {card for entry in held for card in entry.gpus}
    free = [card for card in wish.gpus if card not in taken]
    for entry in sorted(earlier, key=lambda entry: entry.place):
        own = [card for card in entry.gpus if card not in taken][: entry.count]
        taken.update(own)
    left = [card for card in free if card not in taken]
    if len(left) >= wish.count:
        return tuple(left[: wish.count])
    what = "a GPU" if wish.count == 1 else f"{wish.count} GPUs"
    if len(free) >= wish.count:
        return Refusal(what, earlier=[e for e in earlier if {*e.gpus} & {*wish.gpus}])
    return Refusal(what, [e for e in held if {*e.gpus} & {*wish.gpus}])


def _lacks_memory(
    wish: Booking, held: Sequence[Booking], earlier: Sequence[Booking], whole: MachineRoom
) -> Refusal | None:
    if whole.memory is None or not wish.memory:
        return None
    bounds = [(whole.memory, [e for e in held if e.group == wish.group])]
    if wish.group:
        bounds.append((max(whole.memory, whole.host_memory), [*held]))
    for total, beside in bounds:
        others = [e for e in earlier if e.group == wish.group or total != whole.memory]
        needed = min(wish.memory, total)
        room = total - sum(e.memory for e in beside)
        what = f"{needed / 1e9:.1f} GB of memory"
        if needed > room:
            return Refusal(what, [e for e in beside if e.memory])
        if needed > room - sum(min(e.memory, total) for e in others):
            return Refusal(what, earlier=[e for e in others if e.memory])
    return None


def _named(entries: Sequence[Booking]) -> str:
    each = [*dict.fromkeys(f"pid {entry.pid} (run {entry.run})" for entry in entries)]
    more = f" and {len(each) - _MOST_NAMED} more" if len(each) > _MOST_NAMED else ""
    return ", ".join(each[:_MOST_NAMED]) + more


@dataclass(frozen=True)
class Reservation:
    """Room for one worker: its cards, and its entry in the book (None where there is no book)."""

    cards: tuple[str, ...]
    file: BookedFile | None = None

    @property
    def fds(self) -> list[int]:
        """Descriptors for the worker to inherit: it is booked as long as the worker lives."""
        return [] if self.file is None else [self.file.fd]

    def close(self) -> None:
        """Give it back, once."""
        if self.file is not None:
            self.file.close()


@dataclass
class Share:
    """One process's part in the book: what it has reserved, and its place while it waits.

    ``notify`` is told once if the book cannot be used; from then on everything counts as free.
    """

    run: str
    whole: MachineRoom
    notify: Callable[[str], None] = lambda text: None
    refusal: Refusal | None = None
    """Why there was no room the last time, if it was for others."""
    _book: Book | None = None
    _broken: bool = False
    _asked: Booking | None = None
    _ticket: BookedFile | None = None
    """The place in the book of what is asked for."""
    _fresh: bool = False
    """Whether it was asked for again since the last `rest`."""

    def reserve(self, needs: Resources, cards: Sequence[str], *, first: bool) -> Reservation | None:
        """Reserve what a worker needs, with cards among ``cards``; None if there is no room.

        Its place among those that wait is kept as long as it is asked for again before each second
        `rest`.
        """
        self.refusal = None
        if not self._broken:
            try:
                return self._reserve(needs, cards, first)
            except OSError as error:
                self._broken = True
                self.leave()
                self.notify(_unshared(error))
        return Reservation(tuple(cards[: needs.gpus]))

    def _reserve(self, needs: Resources, cards: Sequence[str], first: bool) -> Reservation | None:
        book = self._book = self._book or Book()
        with book.turn() as mine:
            if not mine:
                return None
            wish = self._wish(needs, cards)
            entries = [entry for entry in book.entries() if entry != self._asked]
            answer = decide(wish, entries, self.whole, first=first)
            if isinstance(answer, Refusal):
                self._wait(book, wish, answer)
                return None
            if wish == self._asked:
                self.leave()
            held = replace(wish, gpus=answer, waiting=False)
            return Reservation(answer, book.put(held))

    def _wish(self, needs: Resources, cards: Sequence[str]) -> Booking:
        wish = Booking(
            pid=os.getpid(),
            run=self.run,
            cpus=needs.cpus,
            memory=needs.memory,
            gpus=tuple(cards) if needs.gpus else (),
            count=needs.gpus,
            cores=_affinity(),
            group=cgroups.memory_group(),
            waiting=True,
        )
        if self._asked is not None and replace(self._asked, since=0.0) == wish:
            return self._asked
        return replace(wish, since=time.time())

    def _wait(self, book: Book, wish: Booking, refusal: Refusal) -> None:
        """Keep a place for the first thing that there is no room for."""
        if not refusal.what:
            return
        self.refusal = refusal
        if self._asked is None:
            self._asked, self._ticket = wish, book.put(wish)
        self._fresh = self._fresh or wish == self._asked

    def rest(self) -> None:
        """Give the place up if what it is for was not asked for since this was called last."""
        if not self._fresh:
            self.leave()
        self._fresh = False

    def leave(self) -> None:
        """Give the place up."""
        if self._ticket is not None:
            self._ticket.close()
        self._ticket = self._asked = None


def _affinity() -> tuple[int, ...]:
    return tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else ()


def _unshared(error: OSError) -> str:
    return (
        f"GPUs, memory and cores are not shared with other qpipe processes: {error}; "
        f"{VARIABLE}=FOLDER names a folder that can be written and locked, executor.share=false "
        "does without"
    )
