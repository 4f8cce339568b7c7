"""What goes first: the fewest seconds per byte, measurements last, and nothing in vain."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qpipe.core.worth import Candidate, Limits, Weighed, choose


def weighed(
    key: str,
    size: int,
    seconds: float,
    *,
    stage: str = "quantize",
    used: float = 0.0,
    links: int = 1,
) -> Weighed:
    inode = sum(key.encode()[n] << 8 * n for n in range(len(key)))
    candidate = Candidate(key, key, 0, used, seconds, stage)
    return Weighed(candidate, {(0, inode): (size, links)})


def gone(*artifacts: Weighed, max_size: int, spared: str = "") -> list[str]:
    limits = Limits(max_size, last=("evaluate",))
    return [c.key for c in choose(artifacts, {spared: "pinned"}, limits).removed]


PPL = weighed("ppl", 2_000, 0.01, stage="evaluate")
LARGE = weighed("large", 30_000_000, 3600.0)
CHEAP = weighed("cheap", 20_000_000, 3.0)


def test_the_fewest_seconds_per_byte_go_first_and_measurements_last() -> None:
    assert gone(PPL, LARGE, CHEAP, max_size=40_000_000) == ["cheap"]
    assert gone(PPL, LARGE, CHEAP, max_size=20_000_000) == ["cheap", "large"]
    assert gone(PPL, LARGE, CHEAP, max_size=0) == ["cheap", "large", "ppl"]
    assert gone(PPL, LARGE, CHEAP, max_size=1_000, spared="large") == ["cheap", "ppl"]


def test_large_distributions_are_weighed_like_all_else() -> None:
    distributions = weighed("kld", 40_000_000, 3.0, stage="evaluate")
    assert gone(distributions, LARGE, max_size=30_000_000) == ["kld"]


def test_of_about_the_same_worth_the_least_recently_used_goes() -> None:
    new = weighed("new", 1_000_001, 10.0, used=2.0)
    assert gone(new, weighed("old", 1_000_000, 10.1, used=1.0), max_size=1_500_000) == ["old"]


def test_what_a_large_one_makes_room_for_stays() -> None:
    small = weighed("small", 100_000, 0.001)
    assert gone(small, LARGE, max_size=1_000_000) == ["large"]


def test_what_frees_nothing_does_not_go_for_its_size() -> None:
    linked = weighed("linked", 50_000_000, 0.1, links=2)
    assert gone(linked, LARGE, CHEAP, max_size=1_000_000) == ["cheap", "large"]
    (kept,) = choose([linked], {}, Limits(max_size=0)).kept
    assert (kept.size, kept.linked) == (0, 50_000_000)


@given(
    st.lists(st.tuples(st.integers(1, 10**9), st.floats(0, 1e5), st.booleans()), max_size=12),
    st.integers(0, 10**10),
)
def test_the_limit_holds_and_nothing_goes_that_would_have_fitted(
    made: list[tuple[int, float, bool]], limit: int
) -> None:
    artifacts = [
        weighed(str(n), size, seconds, stage="evaluate" if measured else "quantize")
        for n, (size, seconds, measured) in enumerate(made)
    ]
    choice = choose(artifacts, {}, Limits(limit, last=("evaluate",)))
    left = sum(c.size for c in choice.kept)
    assert left <= limit
    assert left + choice.freed == sum(size for size, *_ in made)
    assert all(left + c.size > limit for c in choice.removed)
