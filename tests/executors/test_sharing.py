"""Who gets what of a machine, and who waits."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpipe.core.graph import Resources
from qpipe.executors import booking
from qpipe.executors.booking import Booking
from qpipe.executors.sharing import MachineRoom, Refusal, Reservation, Share, decide

GB = 10**9
WHOLE = MachineRoom(cpus=8, memory=20 * GB, host_memory=100 * GB)
ALL = ("a", "b", "c")


def wish(
    *, cpus: int = 1, memory: int = 0, count: int = 0, gpus: tuple[str, ...] = ALL,
    since: float = 100.0, pid: int = 1, group: str = "",
) -> Booking:  # fmt: skip
    cards = gpus if count else ()
    return Booking(pid, f"run{pid}", cpus, memory, cards, count, (), group, True, since)


def held(
    *, cpus: int = 1, memory: int = 0, gpus: tuple[str, ...] = (), pid: int = 2, group: str = "",
    cores: tuple[int, ...] = (),
) -> Booking:  # fmt: skip
    return Booking(pid, f"run{pid}", cpus, memory, gpus, len(gpus), cores, group, False, 1.0)


def refused(answer: object) -> str:
    assert isinstance(answer, Refusal)
    return str(answer)


def test_a_card_is_one_workers_at_a_time() -> None:
    assert decide(wish(count=1), [held(gpus=("a",))], WHOLE, first=True) == ("b",)
    assert decide(wish(count=2), [held(gpus=("b",))], WHOLE, first=True) == ("a", "c")
    assert (
        refused(decide(wish(count=1, gpus=("a",)), [held(gpus=("a",))], WHOLE, first=True))
        == "for a GPU, held by pid 2 (run run2)"
    )
    three = [held(gpus=(card,), pid=pid) for pid, card in enumerate(ALL, 5)]
    assert refused(decide(wish(count=2), three, WHOLE, first=True)) == (
        "for 2 GPUs, held by pid 5 (run run5), pid 6 (run run6), pid 7 (run run7)"
    )


def test_who_asked_first_gets_it_first() -> None:
    """One that wants two cards is not passed by those that want one, again and again."""
    two = wish(count=2, gpus=("a", "b"), since=50.0, pid=3)
    one = wish(count=1, gpus=("a", "b"), since=60.0)
    holder = held(gpus=("a",))
    assert refused(decide(one, [holder, two], WHOLE, first=True)) == (
        "for a GPU, after pid 3 (run run3), which asked first"
    )
    assert decide(two, [one], WHOLE, first=True) == ("a", "b")
    assert decide(wish(count=1, gpus=("c",)), [holder, two], WHOLE, first=True) == ("c",)


def test_memory_is_what_all_have_together() -> None:
    holder = held(memory=15 * GB)
    assert decide(wish(memory=5 * GB), [holder], WHOLE, first=True) == ()
    assert refused(decide(wish(memory=6 * GB), [holder], WHOLE, first=True)) == (
        "for 6.0 GB of memory, held by pid 2 (run run2)"
    )
    all_of_it = wish(memory=50 * GB, since=50.0, pid=3)
    assert decide(all_of_it, [], WHOLE, first=True) == (), "more than there is means all of it"
    assert refused(decide(wish(memory=1 * GB), [holder, all_of_it], WHOLE, first=True)) == (
        "for 1.0 GB of memory, after pid 3 (run run3), which asked first"
    )
    assert decide(wish(), [holder, all_of_it], WHOLE, first=True) == ()
    assert decide(wish(memory=99 * GB), [holder], MachineRoom(8, None), first=True) == ()


def test_memory_of_groups_with_limits_of_their_own() -> None:
    """Two jobs of a batch system, 20 GB each, on a machine of 100."""
    other = held(memory=18 * GB, group="1:7")
    assert decide(wish(memory=18 * GB, group="1:8"), [other], WHOLE, first=True) == ()
    assert refused(decide(wish(memory=18 * GB, group="1:7"), [other], WHOLE, first=True))
    many = [held(memory=18 * GB, group=f"1:{n}", pid=n) for n in range(9, 14)]
    assert refused(decide(wish(memory=18 * GB, group="1:7"), many, WHOLE, first=True))


def test_the_first_worker_waits_for_no_cores() -> None:
    busy = held(cpus=8)
    assert decide(wish(cpus=8), [busy], WHOLE, first=True) == ()
    answer = decide(wish(), [busy], WHOLE, first=False)
    assert isinstance(answer, Refusal)
    assert str(answer) == ""
    assert decide(wish(cpus=4), [held(cpus=4)], WHOLE, first=False) == ()
    assert decide(wish(cpus=64), [held(cpus=0)], WHOLE, first=False) == ()


def test_cores_of_others_do_not_count_where_one_may_not_run() -> None:
    mine = Booking(1, "mine", 4, cores=(0, 1, 2, 3), waiting=True, since=2.0)
    four = MachineRoom(4, None)
    assert decide(mine, [held(cpus=4, cores=(4, 5, 6, 7))], four, first=False) == ()
    assert isinstance(decide(mine, [held(cpus=4, cores=(3, 4))], four, first=False), Refusal)


ENTRIES = st.builds(
    Booking,
    pid=st.integers(1, 5),
    run=st.just("run"),
    cpus=st.integers(0, 8),
    memory=st.integers(0, 20 * GB),
    gpus=st.just(ALL),
    count=st.integers(0, 3),
    waiting=st.just(True),
    since=st.integers(1, 5).map(float),
)


@given(st.lists(ENTRIES, max_size=6))
def test_everybody_gets_a_turn_and_nothing_is_taken_twice(wishes: list[Booking]) -> None:
    """All ask again and again, last first; whoever got something ends when nobody else gets any."""
    waiting = [Booking(**{**vars(w), "run": str(index)}) for index, w in enumerate(wishes)]
    running: list[Booking] = []
    while waiting:
        started = False
        for one in sorted(waiting, key=lambda w: w.place, reverse=True):
            others = [entry for entry in waiting if entry is not one]
            answer = decide(one, [*running, *others], WHOLE, first=True)
            if not isinstance(answer, Refusal):
                started = True
                waiting.remove(one)
                running.append(Booking(**{**vars(one), "gpus": answer, "waiting": False}))
        taken = [card for entry in running for card in entry.gpus]
        assert len(taken) == len({*taken})
        assert sum(entry.memory for entry in running) <= 20 * GB
        assert started or running, "somebody can always go on"
        if not started:
            running.pop(0)


# -- through the book -----------------------------------------------------------------------------


@pytest.fixture
def shares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Share]:
    """Two runs on one machine."""
    monkeypatch.setenv(booking.VARIABLE, str(tmp_path / "book"))
    return [Share(name, WHOLE) for name in ("one", "two")]


def test_a_run_waits_until_the_other_has_ended(shares: list[Share], tmp_path: Path) -> None:
    one, two = shares
    needs = Resources(1, 0, 1)
    mine = one.reserve(needs, ["a"], first=True)
    assert mine is not None
    assert mine.cards == ("a",)
    for _ in range(3):
        assert two.reserve(needs, ["a"], first=True) is None
        two.rest()
    assert "for a GPU, held by pid" in str(two.refusal)
    assert "(run one)" in str(two.refusal)
    assert len(list((tmp_path / "book").glob("*.json"))) == 2
    mine.close()
    assert one.reserve(needs, ["a"], first=True) is None, "the other asked first"
    assert "after pid" in str(one.refusal)
    theirs = two.reserve(needs, ["a"], first=True)
    assert theirs is not None
    assert two.refusal is None
    theirs.close()
    one.leave()
    assert list((tmp_path / "book").glob("*.json")) == []


def test_a_place_is_lost_by_who_asks_no_more(shares: list[Share]) -> None:
    one, two = shares
    needs = Resources(1, 0, 1)
    mine = one.reserve(needs, ["a"], first=True)
    assert mine is not None
    assert two.reserve(needs, ["a"], first=True) is None
    two.rest()
    two.rest()
    mine.close()
    again = one.reserve(needs, ["a"], first=True)
    assert isinstance(again, Reservation)
    again.close()


def test_a_folder_that_cannot_be_used_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(booking.VARIABLE, str(tmp_path / "file" / "book"))
    said: list[str] = []
    share = Share("run", WHOLE, said.append)
    for _ in range(3):
        room = share.reserve(Resources(1, 0, 1), ["a", "b"], first=True)
        assert room == Reservation(("a",))
    (text,) = said
    assert "are not shared with other qpipe processes: [Errno 20]" in text
    assert "executor.share=false" in text
