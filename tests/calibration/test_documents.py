"""Calibration records as data sets of today have them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from qpipe.calibration.text.documents import Document, read
from qpipe.errors import DataError

USER = {"role": "user", "content": "what is 6 x 7?"}
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": "{}"}}],
}
RESULT = {"role": "tool", "content": "42"}
PARTS = {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}


def lines(path: Path, *records: Any) -> Path:
    path.write_text("\n".join(json.dumps(record) for record in records))
    return path


def test_tool_calls_and_parts_reach_the_template(tmp_path: Path) -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    record = {"messages": [USER, CALL, RESULT, PARTS], "tools": tools}
    (found,) = read(lines(tmp_path / "a.jsonl", record), field=None)
    assert found.messages == [USER, CALL, RESULT, PARTS]
    assert found.tools == tools
    assert found.plain == "what is 6 x 7?\n42\na\nb"


@pytest.mark.parametrize("empty", ["", None, []])
def test_the_field_with_something_in_it_is_taken(tmp_path: Path, empty: Any) -> None:
    path = lines(tmp_path / "a.jsonl", {"text": empty, "messages": [USER]})
    assert [d.messages for d in read(path, field=None)] == [[USER]]


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.json"):
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + json.dumps({"text": "x"}).encode())
        assert [d.text for d in read(tmp_path / name, field=None)] == ["x"]
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfx\r\ny")
    assert list(read(tmp_path / "a.txt", field=None)) == [Document("x\r\ny")]


@pytest.mark.parametrize("name", ["c4.json.gz", "c4.json", "c4.jsonl"])
def test_lines_end_with_a_line_feed_alone(tmp_path: Path, name: str) -> None:
    """C4's files are JSON lines named .json.gz; JSON may hold U+2028, U+2029 and U+0085 as they
    are."""
    texts = ["one\u2028two\u2029three\u0085four\x0b\x0c\x1c", "five"]
    data = "\r\n".join(json.dumps({"text": t}, ensure_ascii=False) for t in texts).encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    assert [d.text for d in read(tmp_path / name, field=None)] == texts


HALF = '{"text": "half an emoji \\ud83d"}'


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"text": "a"}\n' + HALF, r"record 2, field 'text': has half a character \(U\+D83D"),
        (
            '{"messages": [{"role": "user", "content": [{"type": "text", "text": "\\udc00"}]}]}',
            r"record 1, field 'messages': has half a character",
        ),
        ('{"text": null}', "field 'text': is null; take such records out"),
        (
            '{"messages": [{"role": "user", "content": null}]}',
            r"the content of a message \(user\) is null",
        ),
        ('{"messages": [{"content": "x"}]}', "a message has no role"),
        ('{"messages": [{"role": "user", "content": 5}]}', r"\(user\) is a int, neither text nor"),
        ("[" * 100_000, "nested too deep"),
    ],
)
def test_what_is_wrong_is_said_of_the_record(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(content)
    with pytest.raises(DataError, match=r"a\.jsonl.*" + words):
        list(read(path, field=None))


def test_a_null_field_that_was_asked_for_names_another(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", {"text": None, "messages": [USER]})
    with pytest.raises(DataError, match=r"field 'text': is null; calibration.field=messages has"):
        list(read(path, field="text"))


def test_plain_text_has_no_fields(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(DataError, match=r"calibration\.field=text: a\.txt is plain text"):
        list(read(tmp_path / "a.txt", field="text"))


def test_a_damaged_gzip_file_is_one(tmp_path: Path) -> None:
    whole = gzip.compress(json.dumps({"text": "x" * 10_000}).encode())
    for damaged in (whole[:-12], whole[:30] + b"\xff\xff\xff" + whole[33:]):
        (tmp_path / "a.jsonl.gz").write_bytes(damaged)
        with pytest.raises(DataError, match="no usable gzip file"):
            list(read(tmp_path / "a.jsonl.gz", field=None))


def test_a_record_of_very_many_fields_is_refused_soon(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", {f"field_{n}": n for n in range(200_000)})
    with pytest.raises(DataError, match="record 1 has no text") as caught:
        list(read(path, field=None))
    assert len(str(caught.value)) < 1000
