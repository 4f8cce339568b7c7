"""Records as one text: byte for byte the file whose lines they are."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from qpipe.errors import DataError, EngineMissingError
from qpipe.evaluators.text.protocols import prepared, protocol
from qpipe.sources.download import Download, DownloadParams
from qpipe.stages.base import Order
from qpipe.texts import records
from qpipe.texts.whole import form, joined, read, read_text
from tests.texts import wikitext


def test_the_data_set_wikitext_is_the_file_that_everyone_measures_on(tmp_path: Path) -> None:
    data = read_text(wikitext.write(tmp_path)).encode()
    assert len(data) == 1_290_590
    assert hashlib.sha256(data).hexdigest() == wikitext.SHA256


def test_the_papers_join_its_rows_with_empty_lines(tmp_path: Path) -> None:
    """GPTQ's datautils.py joins the column `text` by two line feeds, whether the rows are lines,
    as WikiText's, or sentences, as those of ptb_text_only."""
    papers = protocol("gptq-2048")
    whole = read(wikitext.write(tmp_path))
    for rows in (None, whole.rows):
        (document,) = prepared(papers, whole.text, rows)
        assert document.text == "\n\n".join(wikitext.rows())
    sentences = ["no it was n't black monday", "but while the <unk> york"]
    lines = "\n".join(json.dumps({"sentence": sentence}) for sentence in sentences)
    (tmp_path / "ptb.jsonl").write_text(lines)
    whole = read(tmp_path / "ptb.jsonl")
    (document,) = prepared(papers, whole.text, whole.rows)
    assert document.text == "\n\n".join(sentences)


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        (["a\n", "", "b\n"], "a\n\nb\n"),
        ([" a\n", "", " b\n"], " a\n \n b\n"),
        (["", " a\n", ""], " \n a\n \n"),
        (["one\ntwo", "three"], "one\ntwo\n\nthree"),
        (["one", "", "two"], "one\n\n\n\ntwo"),
        (["a\n", "b"], "a\n\n\nb"),
        (["", ""], "\n\n"),
        ([], ""),
    ],
)
def test_lines_are_put_together_and_documents_set_apart(rows: list[str], text: str) -> None:
    assert joined(rows) == text


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.json.gz", "a.ndjson.gz"])
def test_records_of_json_are_read_as_those_of_parquet(tmp_path: Path, name: str) -> None:
    found = [{"text": "one\u2028two"}, {"content": "three"}, {"sentence": "four"}, "five"]
    data = "\n".join(json.dumps(record) for record in found).encode()
    if name == "a.json":
        data = json.dumps(found).encode()
    elif name == "a.json.gz":
        data = "\n".join(json.dumps(record) for record in found).encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    assert read_text(tmp_path / name) == "one\u2028two\n\nthree\n\nfour\n\nfive"


def test_plain_text_is_as_it_is_and_changes_no_key(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfa\r\nb")
    assert read_text(tmp_path / "a.txt") == "\ufeffa\r\nb"
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"a\r\nb"))
    assert read_text(tmp_path / "a.txt.gz") == "a\r\nb"
    assert form("wiki.test.raw") == form("hf:datasets/a/b@main/c.txt") == {}
    assert form("hf:datasets/a/b@main/c.json.gz") == form("C.PARQUET") == {"records": 1}


@pytest.mark.parametrize(
    ("record", "says"),
    [
        ({"messages": []}, "a.jsonl: record 2 has no text or content or sentence"),
        ({"text": None}, "a.jsonl: record 2 holds a NoneType"),
        (3, "a.jsonl: record 2 holds a int"),
    ],
)
def test_what_is_no_text_is_named(tmp_path: Path, record: object, says: str) -> None:
    (tmp_path / "a.jsonl").write_text(f'{{"text": "x"}}\n{json.dumps(record)}\n')
    with pytest.raises(DataError, match=says):
        read_text(tmp_path / "a.jsonl")


def test_damaged_files_are_named(tmp_path: Path) -> None:
    for name, data in (("a.parquet", b"PAR1"), ("a.json.gz", b"\x1f\x8b"), ("a.jsonl", b"\xff")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=name):
            read_text(tmp_path / name)
    with pytest.raises(DataError, match="cannot be read"):
        read_text(tmp_path / "b.json")


def test_without_pyarrow_the_command_that_helps_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "parquet_missing", lambda name: f"reading {name} needs pyarrow")
    with pytest.raises(EngineMissingError, match="pyarrow"):
        read_text(wikitext.write(tmp_path))


def test_a_parquet_file_is_refused_before_it_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "parquet_missing", lambda name: f"reading {name} needs pyarrow")
    commit: Any = {"kind": "dataset", "repo": "o/n", "commit": wikitext.COMMIT}
    with pytest.raises(EngineMissingError, match=r"reading a/b\.parquet needs pyarrow"):
        Download.refuse(DownloadParams(**commit, file="a/b.parquet"), Order({}))
    for file in ("a/b.json.gz", None):
        Download.refuse(DownloadParams(**commit, file=file), Order({}))
