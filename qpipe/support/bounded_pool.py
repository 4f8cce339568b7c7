"""Work in a thread pool, a bounded number of jobs ahead of whoever takes the results."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")


def in_order(
    pool: ThreadPoolExecutor, jobs: Iterable[Callable[[], _T]], *, ahead: int
) -> Generator[_T, None, None]:
    """Results of ``jobs`` in their order, at most ``ahead`` of them begun or waiting.

    Closed before its end it cancels what has not begun; the pool waits for the rest.
    """
    pending: deque[Future[_T]] = deque()
    try:
        for job in jobs:
            pending.append(pool.submit(job))
            if len(pending) >= ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()
