"""Readers by themselves, without the verbs around them: more inputs in the same time.

Beside `tests.fuzz.targets`, which go the whole way that a user's file goes.
"""

from __future__ import annotations

import base64
import json
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from qpipe.errors import CheckpointError, UsageError
from qpipe.gguf import values
from tests.fuzz import changes, targets
from tests.fuzz.targets import Target, by_field, gguf
from tests.fuzz.trusted import TRUSTED

_BYTES = (changes.any_bytes, changes.edge)


# -- GGUF and safetensors -------------------------------------------------------------------------


def _make_split(folder: Path) -> None:
    made = gguf()
    tensors, data = made.tensors, made.data
    for number in (0, 1):
        part = gguf()
        part.tensors = [[*tensors[number][:3], 0]]
        part.fields |= {
            b"split.no": struct.pack("<IH", 2, number),
            b"split.count": struct.pack("<IH", 2, 2),
            b"split.tensors.count": values.encode(2, values.ValueType.INT32),
        }
        part.counts = [1, len(part.fields)]
        part.data = data[:512] if number == 0 else data[512:1088]
        (folder / f"x-0000{number + 1}-of-00002.gguf").write_bytes(part.dump())


def _split(folder: Path) -> None:
    from qpipe.gguf import split

    file = split.read(folder / "x-00001-of-00002.gguf")
    for tensor in file.tensors.values():
        file.data(tensor)[:1].sum()


def _gguf(folder: Path) -> None:
    from qpipe.gguf import reader

    file = reader.read(folder / "x.gguf")
    for key, value in values.decoded(file.metadata).items():
        str(key), str(value)
    assert isinstance(file.file_type, str)
    for tensor in file.tensors.values():
        file.data(tensor)[:1].sum()


def _make_safetensors(folder: Path) -> None:
    entries = {
        "__metadata__": {"format": "pt"},
        "a.weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "b": {"dtype": "BF16", "shape": [4], "data_offsets": [24, 32]},
        "c": {"dtype": "F4", "shape": [2, 2], "data_offsets": [32, 34]},
    }
    header = json.dumps(entries).encode()
    (folder / "x").write_bytes(struct.pack("<Q", len(header)) + header + bytes(34))


def _safetensors(folder: Path) -> None:
    from qpipe.gguf import safetensors

    tensors = safetensors.read_header(folder / "x")
    size = (folder / "x").stat().st_size
    assert sum(tensor.nbytes for tensor in tensors.values()) <= size
    assert all(tensor.offset + tensor.nbytes <= size for tensor in tensors.values())


# -- pickles --------------------------------------------------------------------------------------

# What torch.save writes of {"a": a tensor of three floats}, its storage's name in front.
_STATE = (
    b"\x80\x02ccollections\nOrderedDict\nq\x00)Rq\x01X\x01\x00\x00\x00aq\x02ctorch._utils\n"
    b"_rebuild_tensor_v2\nq\x03((X\x07\x00\x00\x00storageq\x04ctorch\nFloatStorage\nq\x05"
    b"X\x01\x00\x00\x000q\x06X\x03\x00\x00\x00cpuq\x07K\x03tq\x08QK\x00K\x03\x85q\tK\x01\x85q\n"
    b"\x89h\x00)Rq\x0btq\x0cRq\rs."
)


def _make_pickles(folder: Path) -> None:
    with zipfile.ZipFile(folder / "x.bin", "w") as archive:
        for name, data in (("data.pkl", _STATE), ("data/0", bytes(12)), ("version", b"3\n")):
            archive.writestr(f"x/{name}", data)
    head = (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True})
    import pickle

    old = b"".join(pickle.dumps(one, 2) for one in head) + _STATE + pickle.dumps(["0"], 2)
    (folder / "y.bin").write_bytes(old + struct.pack("<q", 3) + bytes(12))
    places = {"a": "pytorch_model-00001-of-00001.bin"}
    (folder / "pytorch_model-00001-of-00001.bin").touch()
    index = {"metadata": {}, "weight_map": places}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))


def _pickles(folder: Path) -> None:
    from qpipe.sources import pickle_check, pickle_files

    for name in ("x.bin", "y.bin"):
        pickle_check.check(folder / name)
    assert pickle_files.weight_files(folder)


# -- tokenizers -----------------------------------------------------------------------------------


def _piece(text: bytes, score: float, kind: int) -> bytes:
    body = b"\x0a" + bytes([len(text)]) + text + b"\x15" + struct.pack("<f", score)
    body += b"\x18" + bytes([kind])
    return b"\x0a" + bytes([len(body)]) + body


def _make_sentencepiece(folder: Path) -> None:
    pieces = [(b"<unk>", 0.0, 2), (b"<s>", 0.0, 3), (b"</s>", 0.0, 3), (b"<0x0A>", 0.0, 6)]
    pieces += [(b"\xe2\x96\x81a", -1.0, 1), (b"b", -2.0, 4)]
    trainer = b"\x12\x02\x18\x06"
    data = b"".join(_piece(*piece) for piece in pieces) + trainer
    (folder / "tokenizer.model").write_bytes(data)
    (folder / "added_tokens.json").write_text(json.dumps({"<x>": 6}))
    added = {"6": {"content": "<x>", "special": True}}
    config = {"added_tokens_decoder": added, "bos_token": "<s>", "chat_template": "{{ x }}"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "config.json").write_text("{}")


def _make_tekken(folder: Path) -> None:
    words = [bytes([number]) for number in range(256)] + [b"ab", b"abc"]
    entries = [
        {"rank": rank, "token_bytes": base64.b64encode(word).decode(), "token_str": None}
        for rank, word in enumerate(words)
    ]
    config = {
        "pattern": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}|"
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        "default_vocab_size": len(entries) + 3,
        "default_num_special_tokens": 3,
        "version": "v7",
    }
    special = [
        {"rank": rank, "token_str": name, "is_control": True}
        for rank, name in enumerate(("<unk>", "<s>", "</s>"))
    ]
    content = {"config": config, "vocab": entries, "special_tokens": special}
    (folder / "tekken.json").write_text(json.dumps(content))
    (folder / "config.json").write_text("{}")


def _vocabulary(size: int) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        from qpipe.gguf import vocab

        vocab.metadata(folder, size)

    return read


# -- texts of somebody else -----------------------------------------------------------------------


def _make_card(folder: Path) -> None:
    (folder / "README.md").write_text(
        "---\nlicense: mit\nlanguage:\n- en\n- no\ntags: [a, 'b']\nbase_model: a/b-7b\n"
        "model_name: x\ndatasets:\n- c/d\n---\n# x\nwords\n"
    )


def _card(folder: Path) -> None:
    from qpipe.gguf import card
    from qpipe.sources import model_files

    model_files.card_metadata(folder / "README.md")
    json.dumps(card.read(folder), default=str)


def _make_table(folder: Path) -> None:
    from qpipe.published.load import shipped_tables

    text = shipped_tables()["gptq-issue-1"].read_bytes()
    (folder / "t.yaml").write_bytes(text)


def _table(folder: Path) -> None:
    from qpipe.published import load

    load.load(folder / "t.yaml")


def _make_recipe(folder: Path) -> None:
    (folder / "r.yaml").write_text(
        "defaults:\n- config\n- override quantize: gguf\n- _self_\nmodel: &m\n  source: a/b\n"
        "other: *m\nquantize:\n  type: Q4_0\nlist: [1, 2.5, true, null, '${model.source}']\n"
    )


def _recipe(folder: Path) -> None:
    import yaml

    from qpipe import yamlbounds
    from qpipe.recipe import bounds

    bounds.check_file(folder / "r.yaml")
    try:
        raw = yaml.load((folder / "r.yaml").read_bytes(), Loader=yamlbounds.Loader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(str(error)[:500]) from None
    if not isinstance(raw, dict) or not all(isinstance(name, str) for name in raw):
        raise UsageError("no recipe")
    bounds.check_expansion(raw, "r.yaml")


def _make_pattern(folder: Path) -> None:
    pattern = r"(model\.)?layers\.(0|1[0-9]?)\.(mlp|self_attn)\..*_proj(?!x)\b"
    (folder / "p.txt").write_text(pattern)


def _pattern(folder: Path) -> None:
    from qpipe.support import patterns

    try:
        pattern = (folder / "p.txt").read_text()
        for name in ("model.layers.12.mlp.down_proj", "a" * 60 + "b", "x"):
            patterns.matches(pattern, name)
    except ValueError as error:
        raise CheckpointError(str(error)) from None


READERS: Mapping[str, Target] = {
    "gguf": Target(
        targets._make_gguf,
        {"x.gguf": (by_field(gguf), by_field(gguf), changes.any_bytes, changes.head_of(600))},
        _gguf,
    ),
    "split": Target(
        _make_split,
        {f"x-0000{n}-of-00002.gguf": (changes.any_bytes, changes.head_of(600)) for n in (1, 2)},
        _split,
    ),
    "safetensors": Target(_make_safetensors, {"x": targets._TENSORS}, _safetensors),
    "pickles": Target(
        _make_pickles,
        {"x.bin": _BYTES, "y.bin": _BYTES, "pytorch_model.bin.index.json": targets._JSON},
        _pickles,
    ),
    "sentencepiece": Target(
        _make_sentencepiece,
        {
            "tokenizer.model": _BYTES,
            "added_tokens.json": targets._JSON,
            "tokenizer_config.json": targets._JSON,
        },
        _vocabulary(8),
    ),
    "tekken": Target(_make_tekken, {"tekken.json": targets._JSON}, _vocabulary(261)),
    "card": Target(_make_card, {"README.md": targets._YAML}, _card),
    "published": Target(_make_table, {"t.yaml": targets._YAML}, _table),
    "recipe": Target(_make_recipe, {"r.yaml": targets._YAML}, _recipe),
    "pattern": Target(_make_pattern, {"p.txt": (changes.any_bytes,)}, _pattern),
    **TRUSTED,
}

TARGETS: dict[str, Target] = {**targets.TARGETS, **READERS}
