from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qpipe.report.html.front import Point, front
from qpipe.results.scores import Better

# Few values, so that ties are common.
VALUES = st.lists(st.tuples(st.integers(1, 6), st.integers(-3, 3)), max_size=12)


@given(VALUES, st.sampled_from(["lower", "higher"]))
def test_it_is_what_nothing_is_preferable_to(values: list[tuple[int, int]], better: Better) -> None:
    points = [Point(str(n), size, value) for n, (size, value) in enumerate(values)]
    sign = 1 if better == "lower" else -1

    def preferable(a: Point, b: Point) -> bool:
        no_worse = a.size <= b.size and sign * a.score <= sign * b.score
        return no_worse and (a.size < b.size or sign * a.score < sign * b.score)

    expected = {b.name for b in points if not any(preferable(a, b) for a in points)}
    names = front(points, better)
    assert set(names) == expected
    sizes = [points[int(name)].size for name in names]
    assert sizes == sorted(sizes)
