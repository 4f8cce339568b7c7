"""Files that `run.reference` may name, and those that it may not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from qpipe.errors import RecipeError
from qpipe.recipe.originals import require_original
from tests.support.test_file_kinds import safetensors

REFERENCE = safetensors({"format": "qpipe.reference/1"})


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("LICENSE.md", b"Apache License", "LICENSE.md is a text, and neither a model nor a"),
        ("LICENSE.md", b"x", "give OWNER/NAME, ./FOLDER, ./FILE.gguf, or FILE.reference.safe"),
        ("r.safetensors", REFERENCE, "call it r.reference.safetensors"),
        ("model.safetensors", REFERENCE, "call it model.reference.safetensors"),
        ("m.bin0", b"GGUF\3\0\0\0", "is a GGUF file by its content, and neither a model nor"),
        ("folder/README.md", b"x", "folder holds no model (README.md); give OWNER/NAME"),
        ("folder/", b"", "folder holds no model (nothing)"),
    ],
)
def test_what_is_no_reference_is_called_what_it_is(
    name: str, data: bytes, words: str, tmp_path: Path
) -> None:
    path = tmp_path / name.partition("/")[0]
    if "/" in name:
        path.mkdir()
    if not name.endswith("/"):
        (tmp_path / name).write_bytes(data)
    with pytest.raises(RecipeError, match=re.escape(words)):
        require_original(path)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("m.gguf", b"no"),  # whoever reads it says what is wrong
        ("r.reference.safetensors", b"no"),
        ("model.safetensors", safetensors({"format": "pt"})),
        ("nothing", None),
    ],
)
def test_what_may_be_one_is_left_to_its_reader(
    name: str, data: bytes | None, tmp_path: Path
) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    require_original(tmp_path / name)
