"""README.md, generation_config.json and names: what of them enters a GGUF, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import pytest

from qpipe.gguf import card, reader, values
from qpipe.gguf.convert import convert
from tests.gguf import samples
from tests.gguf.test_gguf_convert import model, refused

__all__ = ["model"]


@pytest.mark.parametrize(
    ("front", "words"),
    [
        ("a: &a [x]\nb: *a", "aliases and tags have no place"),
        ("license: !!python/name:os.system x", "aliases and tags have no place"),
        ("license: !!bool x", "aliases and tags have no place"),
        ("version: 2024-13-45", "month must be in 1..12"),
        ("version: " + "1" * 5000, "a number of [0-9,]+ digits"),
        ("version: 1" + ":1" * 9999, "a number of [0-9,]+ digits"),
        ("tags: " + "[" * 99999, "nested too deeply"),
        ("tags:\n" + "".join(" " * i + "-\n" for i in range(999)), "nested too deeply"),
        ("name: [a, b]", r"has \['a', 'b'\] as 'name', not text"),
        ("model_author: {a: b}", r"as 'model_author', not text"),
        ("license: [[mit]]", r"as 'license', not a list of texts"),
        ("tags: {a: b}", r"as 'tags', not a list of texts"),
        ("base_model: [{name: [a]}]", r"as 'base_model', not a list of texts"),
        ('license: "\\ud800"', r"'license', not a list of texts|is no YAML"),
        ("name: x\x00", "is no YAML"),
        ("x: " + "y" * (1 << 19), "does not end within 524,288 bytes"),
    ],
)  # fmt: skip
def test_model_cards_of_any_size_and_shape(model: Path, front: str, words: str) -> None:
    (model / "README.md").write_text(f"---\n{front}\n---\n")
    refused(model, rf"README.md: the front matter .*{words}.*; correct or remove the file")


def test_what_follows_a_model_card_does_not_matter(model: Path) -> None:
    text = b"---\nlicense: [mit, 1.0]\nversion: 1.0\n---\n" + b"\xff" * (1 << 20)
    (model / "README.md").write_bytes(text)
    assert card.read(model) == {"version": 1.0, "license": ["mit", "1.0"]}
    convert(model, model.parent / "out.gguf", outtype="F32")
    metadata = values.decoded(reader.read(model.parent / "out.gguf").metadata)
    assert (metadata["general.license"], metadata["general.version"]) == ("mit,1.0", "1.0")
    for text in (b"", b"--", b"--- \n\xff", b"# x\n\xff", b"---\n- a\n---\n", b"---\n---"):
        (model / "README.md").write_bytes(text)
        assert card.read(model) == {}


@pytest.mark.parametrize("front", ["license: mit", "tags:\n- a\n- no\n- 1\nlanguage: [en, no]",
    "base_model:\n- a/b\n- name: c\ndatasets: d/e\nx: [{y: 1}]", "name: a\tb\nmodel_type: 7",
])  # fmt: skip
def test_model_cards_are_read_as_gguf_py_reads_them(model: Path, front: str) -> None:
    (model / "README.md").write_text(f"---\n{front}\n---\n# Model\n---\n")
    theirs = gguf.Metadata.load_model_card(model)
    theirs.pop("x", None)
    assert card.read(model) == theirs


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("top_k", 1 << 40, "a whole number"), ("top_k", 2.5, "a whole number"),
        ("top_p", float("nan"), "a number"), ("temperature", "0.7", "a number"),
        ("repetition_penalty", [1], "a number"), ("min_p", True, "a number"),
    ],
)  # fmt: skip
def test_defaults_of_generation_that_gguf_has_no_room_for(
    model: Path, field: str, value: object, words: str
) -> None:
    (model / "generation_config.json").write_text(json.dumps({field: value}))
    refused(model, rf"generation_config.json: field '{field}' is .*, not {words}")


def test_a_name_that_is_none(model: Path) -> None:
    samples.edit_config(model, _name_or_path=7)
    refused(model, r"config.json: field '_name_or_path' is 7, not a name")
