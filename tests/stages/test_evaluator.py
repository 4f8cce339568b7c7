"""What evaluators have in common."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpipe.errors import DataError
from qpipe.stages.evaluator import only_file


def test_a_folder_given_where_a_file_is_needed(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match="is a folder of 2 files, and one file is needed"):
        only_file(tmp_path)
    with pytest.raises(DataError, match=r"is a folder of 0 files \*\.gguf, and"):
        only_file(tmp_path, suffix=".gguf")
    (tmp_path / "b.txt").unlink()
    assert only_file(tmp_path).name == "a.txt"
