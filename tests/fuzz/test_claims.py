"""Small files that claim to hold much: refused at once, before memory is taken for what they claim.

Each differs from a file that is read in one number. `docs/errors.md` says what is read, up to what.
"""

from __future__ import annotations

import gzip
import json
import signal
import struct
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from qpipe.errors import QpipeError
from qpipe.gguf import checkpoint, imatrix, reader, safetensors, split, values, vocab
from qpipe.gguf.vocab import protobuf, sentencepiece
from qpipe.sources import model_class, pickle_files
from qpipe.support import strict_json
from qpipe.texts import whole
from tests.fuzz.changes import Gguf
from tests.fuzz.readers import _make_tekken
from tests.fuzz.targets import gguf

SECONDS, MEMORY = 1.0, 32 << 20
"""Of the processor, and bytes, for one file; texts of lists and numbers take some of it."""

HUGE = (1 << 63) - 1


@dataclass(frozen=True)
class Claim:
    """What fills a folder, what reads it, and what is said of it."""

    fill: Callable[[Path], object]
    read: Callable[[Path], object]
    words: str


def header(entries: Any) -> bytes:
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text


def tensors(entries: Any, words: str, *, data: bytes = b"") -> Claim:
    return Claim(
        lambda folder: (folder / "x").write_bytes(header(entries) + data),
        lambda folder: safetensors.read_header(folder / "x"),
        words,
    )


def a(shape: list[int], offsets: list[int], dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


SAFETENSORS = {
    "header": Claim(
        lambda folder: (folder / "x").write_bytes(struct.pack("<Q", HUGE) + b"{}"),
        lambda folder: safetensors.read_header(folder / "x"),
        "its header claims 9223372036854775807 bytes, the file has 10",
    ),
    "elements": tensors({"a": a([HUGE] * 3, [0, 4])}, "but its data_offsets"),
    "dims": tensors({"a": a([1] * 100_000, [0, 4])}, "has the shape"),
    "offsets": tensors({"a": a([HUGE >> 2], [0, (HUGE >> 2) * 4])}, "it is truncated"),
    "outside": tensors({"a": a([1], [HUGE - 4, HUGE])}, "leaves a gap"),
    "overlap": tensors({"a": a([2], [0, 8]), "b": a([2], [4, 12])}, "overlaps", data=bytes(12)),
    "hole": tensors({"a": a([1], [0, 4]), "b": a([1], [8, 12])}, "leaves a gap", data=bytes(12)),
    "rest": tensors({"a": a([1], [0, 4])}, "8 bytes follow the last tensor", data=bytes(12)),
    "negative": tensors({"a": a([-1], [0, 4])}, "has the shape"),
    "fraction": tensors({"a": a([1.5], [0, 4])}, "has the shape"),  # type: ignore[list-item]
    "bits": tensors({"a": a([3], [0, 2], "F4")}, "no whole number of bytes"),
}


def in_gguf(change: Callable[[Gguf], object], words: str) -> Claim:
    def fill(folder: Path) -> None:
        made = gguf()
        change(made)
        (folder / "x.gguf").write_bytes(made.dump())

    return Claim(fill, lambda folder: reader.read(folder / "x.gguf"), words)


def field(value: bytes) -> Callable[[Gguf], object]:
    return lambda made: made.fields.update({b"general.name": value})


def array(kind: int, count: int, data: bytes = b"") -> bytes:
    return struct.pack("<IIQ", 9, kind, count) + data


def dims(*numbers: int) -> Callable[[Gguf], object]:
    return lambda made: made.tensors[0].__setitem__(1, [*numbers])


def count(place: int, number: int) -> Callable[[Gguf], object]:
    return lambda made: made.counts.__setitem__(place, number)


ENDS = "ends|cut short|too short|bytes"
GGUF = {
    "tensors": in_gguf(count(0, HUGE), "tensors"),
    "room for tensors": in_gguf(count(0, 1 << 19), f"dimensions|{ENDS}"),
    "fields": in_gguf(count(1, HUGE), "metadata"),
    "room for fields": in_gguf(count(1, 1 << 19), ENDS),
    "text": in_gguf(field(struct.pack("<IQ", 8, HUGE)), ENDS),
    "array of numbers": in_gguf(field(array(4, HUGE)), ENDS),
    "array of bytes": in_gguf(field(array(0, 5 << 20, bytes(5 << 20))), "an array of 5,242,880"),
    "array with room": in_gguf(field(array(4, 1 << 20)), ENDS),
    "array of texts": in_gguf(field(array(8, HUGE)), "an array of 9,223,372"),
    "array of arrays": in_gguf(field(array(9, 1, array(9, 1))), "an array of arrays"),
    "type": in_gguf(field(struct.pack("<I", 4_000_000_000)), "4000000000"),
    "dims": in_gguf(dims(*[32] * 1000), "1000 dimensions"),
    "no dims": in_gguf(dims(), "0 dimensions"),
    "weights": in_gguf(dims(32, HUGE), "needs bytes|starts at byte"),
    "product": in_gguf(dims(1 << 62, 1 << 62, 1 << 62, 4), "needs bytes|starts at byte"),
    "no weights": in_gguf(dims(32, 0), "cannot have the shape"),
    "offset": in_gguf(lambda made: made.tensors[1].__setitem__(3, HUGE - 31), "starts at byte"),
    "kind": in_gguf(lambda made: made.tensors[0].__setitem__(2, 1 << 31), "type number"),
    "alignment": in_gguf(
        lambda made: made.fields.update({b"general.alignment": values.u32(1 << 31)}), "needs bytes"
    ),
    "no alignment": in_gguf(
        lambda made: made.fields.update({b"general.alignment": values.u32(0)}), "no power of two"
    ),
}


def dat(data: bytes, words: str) -> Claim:
    return Claim(
        lambda folder: (folder / "m.dat").write_bytes(data),
        lambda folder: imatrix.read(folder / "m.dat"),
        words,
    )


MOST = (1 << 31) - 1
IMATRIX = {
    "entries": dat(struct.pack("<i", MOST), "as the number of its tensors"),
    "no entries": dat(struct.pack("<i", -1), "as the number of its tensors"),
    "name": dat(struct.pack("<ii", 1, MOST), "it ends after 8 bytes"),
    "values": dat(struct.pack("<ii1sii", 1, 1, b"a", 1, MOST), "it ends after 17 bytes"),
    "negative": dat(struct.pack("<ii1sii", 1, 1, b"a", 1, -1), "has -1 values"),
    "text": dat(struct.pack("<ii1siifii", 1, 1, b"a", 1, 1, 1.0, 1, MOST), "it ends after"),
}


def varint(number: int) -> bytes:
    made = b""
    while number > 0x7F:
        made, number = made + bytes([number & 0x7F | 0x80]), number >> 7
    return made + bytes([number])


def pieces(data: bytes, words: str) -> Claim:
    return Claim(
        lambda folder: (folder / "tokenizer.model").write_bytes(data),
        lambda folder: sentencepiece._pieces(folder / "tokenizer.model"),
        words,
    )


PROTOBUF = {
    "piece": pieces(b"\x0a" + varint(HUGE), "needs 9223372036854775807 bytes"),
    "text": pieces(b"\x0a\x0b\x0a" + varint(1 << 40), "needs|ends in the middle"),
    "number": pieces(b"\x08" + b"\xff" * 30, "more than 10 bytes"),
    "wire type": pieces(b"\x0b", "unknown wire type 3"),  # groups, which may be nested
    "nothing": pieces(b"", "holds no vocabulary"),
}


def document(name: str, text: bytes, read: Callable[[Path], object], words: str) -> Claim:
    return Claim(lambda folder: (folder / name).write_bytes(text), read, words)


def parsed(text: bytes, words: str) -> Claim:
    return document("x", text, lambda f: strict_json.load(f / "x", QpipeError), words)


JSON = {
    "depth": parsed(b"[" * 50_000, "nested too deeply"),
    "depth of objects": parsed(b'{"a":' * 50_000, "nested too deeply"),
    "levels": parsed(b"[" * 200 + b"]" * 200, "nested too deeply"),
    "digits": parsed(b"1" * 100_000, "thousands of digits"),
    "key twice": parsed(b'{"a":1,"a":2}', "appears twice"),
}


def indexed(weight_map: Any) -> Callable[[Path], object]:
    def fill(folder: Path) -> None:
        text = json.dumps({"weight_map": weight_map})
        (folder / "model.safetensors.index.json").write_text(text)
        (folder / "config.json").write_text("{}")

    return fill


def index(weight_map: Any, words: str) -> Claim:
    return Claim(indexed(weight_map), checkpoint.read_tensors, words)


OUT = "is no name of a safetensors file beside it"
INDEX = {
    "above": index({"a": "../model.safetensors"}, OUT),
    "absolute": index({"a": "/etc/model.safetensors"}, OUT),
    "below": index({"a": "x/model.safetensors"}, OUT),
    "backslash": index({"a": "..\\model.safetensors"}, OUT),
    "another kind": index({"a": "model.bin"}, OUT),
    "long": index({"a": "a" * 5000 + ".safetensors"}, OUT),
    "number": index({"a": 1}, OUT),
    "parts": Claim(
        lambda folder: (folder / "model-00001-of-99999.safetensors").touch(),
        checkpoint.read_tensors,
        "model-00002-of-99999.safetensors: missing",
    ),
    "pickled parts": Claim(
        lambda folder: (folder / "pytorch_model-00001-of-99999.bin").touch(),
        pickle_files.weight_files,
        "pytorch_model-00002-of-99999.bin: missing",
    ),
    "split": Claim(
        lambda folder: _split(folder), lambda folder: split.read(folder / SPLIT), "cannot be read"
    ),
}
SPLIT = "x-00001-of-65535.gguf"


def _split(folder: Path) -> None:
    made = gguf()
    made.fields |= {
        b"split.no": struct.pack("<IH", 2, 0), b"split.count": struct.pack("<IH", 2, 65535)
    }  # fmt: skip
    made.counts[1] = len(made.fields)
    (folder / SPLIT).write_bytes(made.dump())


def text(name: str, data: Callable[[], bytes], words: str) -> Claim:
    return Claim(
        lambda folder: (folder / name).write_bytes(data()),
        lambda folder: whole.read(folder / name),
        words,
    )


def tekken(number: object) -> Claim:
    """A number of special tokens that nothing else in the file says."""

    def fill(folder: Path) -> None:
        _make_tekken(folder)
        content = json.loads((folder / "tekken.json").read_text())
        content["config"]["default_num_special_tokens"] = number
        (folder / "tekken.json").write_text(json.dumps(content))

    words = "field 'config.default_num_special_tokens' is"
    return Claim(fill, lambda folder: vocab.metadata(folder, 261), words)


TOKENS = {"many": tekken(1 << 40), "negative": tekken(-1), "flag": tekken(True)}

TEXTS = {
    "depth": text("x.jsonl", lambda: b"[" * 100_000, "nested too deep"),
    "digits": text("x.jsonl", lambda: b"1" * 100_000, "no JSON"),
    "cut": text("x.txt.gz", lambda: gzip.compress(b"a" * 100)[:-9], "no usable gzip"),
}


CLAIMS = {
    f"{kind}: {name}": claim
    for kind, claims in (
        ("safetensors", SAFETENSORS), ("gguf", GGUF), ("imatrix", IMATRIX), ("protobuf", PROTOBUF),
        ("json", JSON), ("index", INDEX), ("text", TEXTS), ("tekken", TOKENS),
    )
    for name, claim in claims.items()
}  # fmt: skip


class TookTooLongError(BaseException):
    """More than `SECONDS`."""


def _ring(number: int, frame: FrameType | None) -> None:
    raise TookTooLongError


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_is_refused_before_memory_is_taken(tmp_path: Path, name: str) -> None:
    claim = CLAIMS[name]
    claim.fill(tmp_path)
    size = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    before = signal.signal(signal.SIGPROF, _ring)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        with pytest.raises(QpipeError, match=claim.words) as caught:
            claim.read(tmp_path)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    assert len(str(caught.value)) < 2000
    tracemalloc.start()  # which takes eight times as long
    try:
        with pytest.raises(QpipeError):
            claim.read(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < MEMORY + 2 * size
    finally:
        tracemalloc.stop()


def test_what_is_compressed_comes_to_a_hundred_times_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qpipe.texts import records

    monkeypatch.setattr(records, "MOST_AT_LEAST", 1 << 16)
    for name in ("x.txt.gz", "x.jsonl.gz", "x.json.gz"):
        (tmp_path / name).write_bytes(gzip.compress(b'"' + b"a" * (1 << 20) + b'"'))
        with pytest.raises(QpipeError, match=r"comes to more than .* 100 times what it is compr"):
            whole.read(tmp_path / name)
    text = "\n".join(json.dumps({"text": f"text {n}"}) for n in range(5000))
    (tmp_path / "y.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    assert whole.read(tmp_path / "y.jsonl.gz").rows is not None


def test_parquet_claims_are_compared_with_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    from qpipe.texts import records

    monkeypatch.setattr(records, "MOST_AT_LEAST", 1 << 16)
    table = pa.table({"text": [f"{n}" + "a" * 5000 for n in range(1000)]})
    parquet.write_table(table, tmp_path / "x.parquet", compression="zstd", use_dictionary=False)
    with pytest.raises(QpipeError, match="says that it comes to"):
        whole.read(tmp_path / "x.parquet")
    monkeypatch.undo()
    assert len(whole.read(tmp_path / "x.parquet").rows or ()) == 1000


def test_pieces_and_configs_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protobuf, "MOST_PIECES", 10)
    with pytest.raises(ValueError, match="more than 10 pieces"):
        protobuf.pieces(b"\x0a\x03\x0a\x01a" * 11)
    (tmp_path / "config.json").write_bytes(b"[" * 50_000)
    assert model_class.read(tmp_path / "config.json") is None
