"""JSON of somebody else: what every reader understands alike, or a ValueError in plain words."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from qpipe.errors import DataError
from qpipe.support import strict_json


def test_what_is_sound_is_read() -> None:
    value = {"a": [1, 2.5, None, True, "ä \U0001f600"], "b": {"c": {}}}
    for ascii_only in (True, False):
        text = json.dumps(value, ensure_ascii=ascii_only).encode()
        assert strict_json.parse(text) == value
    # time_step_limit of a Mamba config is [0.0, Infinity].
    assert strict_json.parse(b"[Infinity]") == [math.inf]
    assert strict_json.parse(rb'"\\ud800"') == "\\ud800"
    depth = strict_json.MOST_LEVELS - 1
    assert strict_json.parse(b"[" * depth + b"{}" + b"]" * depth)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b'{"a": 1, "b": 2, "a": 3}', "the key 'a' appears twice"),
        (b"[" * 101 + b"]" * 101, "nested too deeply"),
        (b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
        (b'{"a":' * 200 + b"1" + b"}" * 200, "nested too deeply"),
        (rb'["\ud83d"]', "half of a character"),
        (rb'{"\uDE00": 1}', "half of a character"),
        (b'"\xed\xa0\x80"', "can't decode"),
        (b"\xff", "can't decode"),
        (b"1" * 5000, "a number in it has thousands of digits"),
        (b"", "Expecting value"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
    ],
)
def test_what_readers_would_take_differently_is_refused(text: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        strict_json.parse(text)
    assert len(str(caught.value)) < 300


def test_a_key_twice_among_a_hundred_thousand() -> None:
    """In linear time: each key looked for among all others took half a minute."""
    names = [f'"{"k" * 200}{i}": 1' for i in range(100_000)]
    with pytest.raises(strict_json.DuplicateKeyError, match=r"'kkkkk.*99999' \(207 characters\)"):
        strict_json.parse(("{" + ", ".join([*names, names[-1]]) + "}").encode())


def test_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{,}")
    with pytest.raises(DataError, match=r"x.json: not usable as JSON: Expecting property name"):
        strict_json.load(tmp_path / "x.json", DataError)
