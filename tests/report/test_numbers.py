from __future__ import annotations

import pytest

from qpipe.report import numbers, text


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "0.98 KiB"),
        (1024, "1.00 KiB"),
        (10 * 1024, "10.0 KiB"),
        (999 * 1024, "999 KiB"),
        (5 * 2**20, "5.00 MiB"),
        (15.2 * 2**30, "15.2 GiB"),
        (3000 * 2**40, "3000 TiB"),
    ],
)
def test_size(count: float, shown: str) -> None:
    assert numbers.size(count) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0.00 s"),
        (9.99, "9.99 s"),
        (9.999, "10.0 s"),
        (59.9, "59.9 s"),
        (59.99, "1m00s"),
        (125, "2m05s"),
        (3599.9, "1h00m"),
        (8040, "2h14m"),
        (86400 * 3 + 7200, "3d02h"),
    ],
)
def test_duration(seconds: float, shown: str) -> None:
    assert numbers.duration(seconds) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(-1, "now"), (5, "5s"), (61, "1m"), (7300, "2h"), (86400 * 40, "40d")]
)
def test_age(seconds: float, shown: str) -> None:
    assert numbers.age(seconds) == shown


def test_table_aligns() -> None:
    assert text.table(("A", "BB"), [["xyz", "1"], ["x", "22"]], right="lr") == (
        "A    BB\nxyz   1\nx    22"
    )


def test_pairs_keep_the_column() -> None:
    assert text.pairs([("a", "1\n2"), ("long", "3")]) == "a     1\n      2\nlong  3"


def test_scores() -> None:
    assert numbers.figure(9.87106) == "9.8711"
    assert numbers.figure(0.0123456) == "0.0123"
    assert numbers.figure(0) == "0"
    assert numbers.figure(0.0) == "0.0000"
    assert numbers.figure(1234567) == "1,234,567"
    assert numbers.figure(1234.567, unit="%", digits=1) == "1,234.6"
    assert numbers.figure(3282.94, unit="t/s") == "3,283"
    assert [numbers.figure(v, unit="t/s") for v in (999.94, 999.96)] == ["999.9", "1,000"]
    assert numbers.figure(0.0187, unit="s") == "0.019"
    assert numbers.figure(58.5 * 2**20, unit="bytes") == "58.5 MiB"
    assert numbers.signed(0.0930) == "+0.0930"
    assert numbers.signed(-1.25, digits=1) == "-1.2"
    assert numbers.signed(-2048.0, unit="bytes") == "-2.00 KiB"


def test_what_no_table_has_room_for_is_shown_by_its_power() -> None:
    """The perplexity of a model that was never trained."""
    assert numbers.figure(1.3523e33, digits=4) == "1.352e+33"
    assert numbers.signed(-2.4616e33) == "-2.462e+33"
    assert numbers.figure(99_999_999.5, digits=1) == "99,999,999.5"
