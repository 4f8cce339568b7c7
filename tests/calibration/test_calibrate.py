"""Calibration samples: their number and length, their choice, and every kind of text."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from qpipe.calibration.calibrate import Calibrate, CalibrateParams
from qpipe.calibration.text.documents import read
from qpipe.calibration.text.samples import CALIBRATION_FILE
from qpipe.errors import DataError
from qpipe.machine.filesystem import link
from qpipe.stages.base import Work

DATA = Path(__file__).parents[2] / "qpipe" / "data"
MODEL = DATA / "tinystories-d256"
TEXT = DATA / "texts" / "tinystories_lower_train.txt"
BOS = 1


def made(
    tmp_path: Path, text: Path = TEXT, **params: Any
) -> tuple[list[list[int]], dict[str, Any]]:
    out, inputs = tmp_path / "out", tmp_path / "in"
    out.mkdir(parents=True)
    inputs.mkdir()
    link(text, inputs / text.name)
    work = Work({"model": MODEL, "text": inputs}, out, 1, lambda done, total, unit: None, {})
    facts = dict(Calibrate().run(CalibrateParams(text="(input)", **params), work))
    return json.loads((out / CALIBRATION_FILE).read_text())["samples"], facts


def test_samples_are_windows_of_the_text(tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    samples, facts = made(tmp_path, samples=5, length=64)
    assert [len(sample) for sample in samples] == [64] * 5
    assert all(sample[0] == BOS for sample in samples)
    tokenizer: Any = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    whole = tokenizer.encode(TEXT.read_text(), add_special_tokens=False).ids
    windows = [whole[at : at + 63] for at in range(0, len(whole) - 62, 63)]
    places = [windows.index(sample[1:]) for sample in samples]
    assert places == sorted(places)
    assert facts["tokens"] == facts["tokens_asked"] == 320
    assert facts["tokens_in_text"] == len(whole)
    assert facts["notes"] == []


def test_the_seed_chooses(tmp_path: Path) -> None:
    one, again, other = (
        made(tmp_path / name, samples=4, length=32, seed=seed)[0]
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert one == again != other


def test_a_short_text_gives_what_it_has(tmp_path: Path) -> None:
    text = tmp_path / "short.txt"
    text.write_text(TEXT.read_text()[:3000])
    samples, facts = made(tmp_path, text, samples=500, length=64)
    assert facts["samples"] == len(samples) < facts["samples_asked"] == 500
    assert facts["tokens"] == 64 * len(samples)
    assert "of the 32000 tokens asked for" in facts["notes"][0]
    text.write_text("once upon a time")
    with pytest.raises(DataError, match="one sample needs 63; give a longer text"):
        made(tmp_path / "again", text, samples=1, length=64)


def test_windows_longer_than_the_model_knows_are_noted(tmp_path: Path) -> None:
    _, facts = made(tmp_path, samples=1, length=300)
    assert "exceed the 256" in facts["notes"][0]


def test_a_template_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no chat template"):
        made(tmp_path, samples=1, length=32, chat_template=True)


STORY = "once there was a cat."
TURNS = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": STORY}]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", STORY),
        ("a.jsonl", json.dumps({"id": 1, "text": STORY}) + "\n\n"),
        ("a.json", json.dumps([{"content": STORY}])),
        ("a.json", json.dumps([STORY])),
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_documents(tmp_path: Path, name: str, content: str, zipped: bool) -> None:
    path = tmp_path / (name + ".gz" if zipped else name)
    path.write_bytes(gzip.compress(content.encode()) if zipped else content.encode())
    (document,) = read(path, field=None)
    assert document.text == STORY


def test_parquet_and_conversations(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    shared = [{"from": "human", "value": "hi"}, {"from": "gpt", "value": STORY}]
    table = pyarrow.Table.from_pylist([{"conversations": shared}, {"conversations": shared}])
    parquet.write_table(table, tmp_path / "a.parquet")
    found = list(read(tmp_path / "a.parquet", field="conversations"))
    assert [document.messages for document in found] == [TURNS, TURNS]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", '{"text": "x"}\n{"text": ', r"a\.jsonl:2: no JSON"),
        ("a.jsonl", '{"txet": "x"}', "record 1 has no .* did you mean|known: txet"),
        ("a.jsonl", '{"text": 5}', "record 1, field 'text': is a int"),
        ("a.json", '{\n"text": "x"}', "holds a dict, not a list"),
        ("a.txt.gz", "x", "no usable gzip file"),
        ("a.parquet", "x", "no usable Parquet file"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, content: str, words: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=words):
        list(read(tmp_path / name, field=None))
