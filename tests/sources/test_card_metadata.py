"""What of a model card counts."""

from __future__ import annotations

from pathlib import Path

import gguf
import pytest

from qpipe.errors import SourceError
from qpipe.sources import model_files


@pytest.mark.parametrize(
    "text",
    [
        "---\nlicense: mit\n---\n# A model\n",
        "---\r\nlicense: mit\r\ntags:\r\n- no\r\n---\r\nprose",
        "---\nlicense: mit\nbase_model: a/b\n",
        "---\n---\nnothing",
        "---\nname: caf\u00e9\n\u0085---\nlicense: x\n---\n",
    ],
)
def test_the_head_says_what_the_card_says(tmp_path: Path, text: str) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
    (whole / model_files.CARD).write_bytes(text.encode())
    head = model_files.card_metadata(whole / model_files.CARD)
    assert head is not None
    (cut / model_files.CARD).write_bytes(head)
    load = gguf.Metadata.load_model_card
    assert load(cut) == load(whole)
    assert b"prose" not in head


@pytest.mark.parametrize("text", ["", "# A model\n---\nlicense: mit\n---\n", " ---\na: b\n---\n"])
def test_a_card_without_metadata_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / model_files.CARD).write_text(text)
    assert model_files.card_metadata(tmp_path / model_files.CARD) is None


def test_prose_may_be_of_any_encoding_and_size(tmp_path: Path) -> None:
    path = tmp_path / model_files.CARD
    path.write_bytes(b"---\nlicense: mit\n---\n" + b"\xff" * (2 << 20))
    assert model_files.card_metadata(path) == b"---\nlicense: mit\n---\n"
    path.write_bytes(b"---\n" + b"a: b\n" * (1 << 18))
    with pytest.raises(SourceError, match="has no end"):
        model_files.card_metadata(path)
