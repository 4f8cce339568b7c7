from __future__ import annotations

import pytest

from qpipe.errors import UsageError
from qpipe.support.quantities import parse_age, parse_size


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("123", 123),
        ("50GB", 50 * 10**9),
        ("50 gb", 50 * 10**9),
        ("50G", 50 * 10**9),
        ("1.5GiB", 3 * 2**29),
        ("2MiB", 2**21),
        ("1T", 10**12),
    ],
)
def test_sizes(text: str, count: int) -> None:
    assert parse_size(text, option="--max-size") == count


@pytest.mark.parametrize("text", ["", "GB", "-1", "5 bananas", "1e9", "5GBB", "nan", "5 G B"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(UsageError, match=r"--max-size.*such as 50GB"):
        parse_size(text, option="--max-size")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("45m", 2700), ("12h", 43200), ("30d", 2592000), ("2w", 1209600), ("0s", 0)],
)
def test_ages(text: str, seconds: float) -> None:
    assert parse_age(text, option="--max-age") == seconds


@pytest.mark.parametrize("text", ["", "30", "d", "3 months", "-3d"])
def test_no_ages(text: str) -> None:
    with pytest.raises(UsageError, match=r"--max-age.*such as 30d"):
        parse_age(text, option="--max-age")
