"""What a terminal is given: no name of a file moves the cursor or hides what follows."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from qpipe.report import text


def test_what_is_visible_stays() -> None:
    for plain in ("Q4_K_M ± 0.25", "模型 — é\u00a0x", "a\u3000b", ""):
        assert text.printable(plain) == plain


def test_control_sequences_are_shown() -> None:
    assert text.printable("\x1b]0;title\x07") == r"\x1b]0;title\x07"
    assert text.printable("a\r\x08\x7f\x9b2J") == r"a\r\x08\x7f\x9b2J"
    assert text.printable("\u202etxt.exe\u2066\u2028") == r"\u202etxt.exe\u2066\u2028"
    assert text.printable("\ud800 \U000e0001") == r"\ud800 \U000e0001"
    assert text.printable("a\n\tb") == r"a\n\tb"
    assert text.printable("a\n\tb\x1b", lines=True) == "a\n\tb\\x1b"


@given(st.text())
def test_nothing_invisible_is_left(given: str) -> None:
    """Of any text: no control, format or half character; what is printable as it was."""
    shown = text.printable(given)
    assert not {unicodedata.category(c) for c in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    shown.encode()  # no half characters
    if given.isprintable():
        assert shown == given


def test_tables_and_pairs_keep_a_name_in_its_place() -> None:
    table = text.table(("NAME", "TYPE"), [["a\nb  F16", "Q4_0\x1b[A"]])
    assert table.splitlines() == ["NAME       TYPE", r"a\nb  F16  Q4_0\x1b[A"]
    assert text.pairs([("na\x1bme", "one\ntwo\x07")]) == "na\\x1bme  one\n" + " " * 10 + "two\\x07"


def test_messages_are_cut() -> None:
    shown = text.message("begins " + "x" * 10**6 + " ends")
    assert shown.startswith("begins xxx") and shown.endswith("xxx ends")
    assert len(shown) < 8100 and "(992,012 characters more)" in shown
