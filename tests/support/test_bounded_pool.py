"""Results in order, and no more work begun than was asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from qpipe.support.bounded_pool import in_order


def test_results_come_in_order_whichever_is_done_first() -> None:
    second_done = threading.Event()

    def first() -> int:
        assert second_done.wait(timeout=30)
        return 1

    def second() -> int:
        second_done.set()
        return 2

    with ThreadPoolExecutor(2) as pool:
        assert list(in_order(pool, [first, second], ahead=2)) == [1, 2]


def test_closed_it_begins_nothing_more_and_errors_come_in_their_place() -> None:
    begun: list[int] = []

    def job(number: int) -> Callable[[], int]:
        def work() -> int:
            begun.append(number)
            return 1 // number

        return work

    with ThreadPoolExecutor(1) as pool:
        results = in_order(pool, map(job, [1, 2, 3, 4, 5]), ahead=2)
        assert next(results) == 1
        results.close()
    assert len(begun) <= 2
    with ThreadPoolExecutor(1) as pool:
        results = in_order(pool, map(job, [1, 0, 2]), ahead=1)
        assert next(results) == 1
        with pytest.raises(ZeroDivisionError):
            next(results)
