"""Families of models: the native converter against llama.cpp's, by golden files.

They are made of random checkpoints by `make families`, which also compares all other ways (see
families/compare.py); here numpy alone makes the checkpoints again.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from qpipe.gguf import quantize
from qpipe.gguf.convert import prepare
from tests.gguf.families import compare, document, golden
from tests.gguf.families.table import FAMILIES

NATIVE = [name for name, family in FAMILIES.items() if compare.is_native(family)]


def test_the_table_in_the_docs_is_current() -> None:
    """And tells who converts what: where this fails, run `make families ARGS=NAME`."""
    measured = [name for name in FAMILIES if golden.read(name)["outcome"]["native"]]
    assert measured == NATIVE
    assert document.current() == document.rendered()


@pytest.mark.parametrize("family", NATIVE)
def test_as_llama_cpp_converts_it(family: str, tmp_path: Path) -> None:
    """Metadata and tensors in F16, and the types of the quantized files."""
    theirs = golden.read(family)
    prepared = prepare(golden.make(family, tmp_path), outtype="F16")
    prepared.write(tmp_path / "out.gguf")
    ours = compare.described(tmp_path / "out.gguf")
    assert ours["metadata"] == theirs["converted"]["metadata"]
    assert list(ours["metadata"]) == list(theirs["converted"]["metadata"])
    assert ours["tensors"] == theirs["converted"]["tensors"]
    levels = {level: quantize.prepare(prepared, level).types for level in compare.LEVELS}
    assert {level: golden.summed(types) for level, types in levels.items()} == theirs["levels"]
    assert compare.refusal(tmp_path / "out.gguf") == theirs["outcome"]["loads"]


@pytest.mark.soak
@pytest.mark.parametrize("family", FAMILIES)
def test_by_every_way(family: str, tmp_path: Path) -> None:
    """As `make families` does, with what transformers and the converter are here."""
    pytest.importorskip("torch")
    (tmp_path / "ways").mkdir()
    source = golden.make(family, tmp_path)
    outcome = compare.compared(FAMILIES[family], source, tmp_path / "ways")
    assert outcome.differing == ()
    kept = golden.read(family)["outcome"]
    assert dataclasses.replace(outcome, distance=None, peer=kept["peer"]) == compare.Outcome(
        **{**kept, "differing": (), "distance": None}
    )
    entry = FAMILIES[family]
    assert outcome.distance is None or outcome.distance < entry.tolerance or entry.oddity
