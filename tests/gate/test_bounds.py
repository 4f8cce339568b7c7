"""What may be lost, as it is written."""

from __future__ import annotations

import pytest

from qpipe.errors import UsageError
from qpipe.gate.bounds import Bounds, parsed, shown


def read(kind: str, text: str) -> float:
    written: dict[str, str | None] = dict.fromkeys(("drop", "kld", "ppl"))
    (value,) = parsed(**{**written, kind: text}).given.values()  # type: ignore[arg-type]
    return value


@pytest.mark.parametrize(
    ("kind", "text", "value", "again"),
    [
        *(("drop", "1pp", 0.01, "1 pp"), ("drop", " 0.5 pp ", 0.005, "0.5 pp")),
        *(("kld", "0.02", 0.02, "0.02"), ("kld", "1e-3", 0.001, "0.001")),
        ("kld", "0.02 nats", 0.02, "0.02"),
        *(("ppl", "1%", 0.01, "1 %"), ("ppl", "2.5 %", 0.025, "2.5 %")),
    ],
)  # fmt: skip
def test_bounds_in_their_units(kind: str, text: str, value: float, again: str) -> None:
    assert read(kind, text) == pytest.approx(value)
    assert shown(kind, read(kind, text)) == again


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        ("kld", "1pp", "pp are percentage points of accuracy"),
        ("kld", "2%", "% are percent"),
        ("drop", "1%", "% are percent"),
        ("drop", "0.01", "without a unit it may be 0.01pp, or 1pp"),
        ("ppl", "5", "without a unit it may be 5%"),
        ("ppl", "1pp", "--max-ppl 1%"),
        ("ppl", "1 pct", "'pct' is no unit"),
        *((kind, text, "that is no number") for kind in ("drop", "kld", "ppl")
          for text in ("", "nan", "inf", "-inf", "one", "1..2pp", "NaN%")),
        *((kind, text, "no data can show") for kind, text in (("kld", "0"), ("drop", "0pp"))),
        ("ppl", "0", "no data can show"),
        ("ppl", "-1%", "no data can show"),
        ("drop", "100pp", "that is every item"),
    ],
)  # fmt: skip
def test_what_means_nothing_is_refused(kind: str, text: str, words: str) -> None:
    with pytest.raises(UsageError, match=r".") as error:
        read(kind, text)
    assert words in str(error.value) and f"--max-{kind}" in str(error.value)


def test_no_bound_and_equivalence_of_one_side() -> None:
    with pytest.raises(UsageError, match="no bound is given"):
        parsed(drop=None, kld=None, ppl=None)
    with pytest.raises(UsageError, match="a KL divergence has one side"):
        Bounds(kld=0.1, equivalent=True)
    assert Bounds(kld=0.1, ppl=0.01, equivalent=True).given == {"kld": 0.1, "ppl": 0.01}
