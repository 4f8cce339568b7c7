"""A GGUF file whose name claims a type that it has not is told, and no other."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from qpipe.sources import claimed_type


@pytest.fixture(scope="module")
def stories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import qpipe

    out = tmp_path_factory.mktemp("claims") / "m.gguf"
    with pytest.warns(UserWarning):  # of its rows
        return qpipe.quantize("builtin:stories260K", out, type="Q4_0")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("m-Q4_0.gguf", None),
        ("m.gguf", None),
        ("m-Q4_K_XL.gguf", None),
        ("mmproj-F16.gguf", None),
        ("m-q4_k_m.gguf", "its name says Q4_K_M, its header Q4_0, and its matrices are Q4_0 ("),
        ("m.Q8_0.gguf", "its name says Q8_0, its header Q4_0"),
        ("m-UD-Q4_1.gguf", "its name says Q4_1, its header Q4_0"),
    ],
)
def test_a_name_that_is_not_true(
    stories: Path, tmp_path: Path, name: str, words: str | None
) -> None:
    shutil.copyfile(stories, tmp_path / name)
    notes = claimed_type.notes([tmp_path / name])
    assert len(notes) == (words is not None)
    assert words is None or (words in notes[0] and notes[0].startswith(f"{name}: "))


def test_small_matrices_that_cannot_have_the_type_count_by_the_header(tmp_path: Path) -> None:
    """llama-quantize gives rows that no block of 256 fits other types, and says Q4_K_M."""
    import qpipe

    notes = []
    for kind in ("Q4_K_M", "Q8_0"):
        out = tmp_path / f"m-{kind}.gguf"
        with pytest.warns(UserWarning):
            qpipe.quantize("builtin:stories260K", out, type=kind)
        notes += claimed_type.notes([out])
    assert notes == []


def test_what_cannot_be_read_the_next_stage_refuses(tmp_path: Path) -> None:
    (tmp_path / "m-Q4_0.gguf").write_bytes(b"GGUF")
    assert claimed_type.notes([tmp_path / "m-Q4_0.gguf"]) == []
