"""Names of somebody else become places inside a folder, or are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpipe.errors import CheckpointError
from qpipe.support.inside import inside, is_inner

OUT = (
    "", ".", "..", "../x", "a/../../x", "a/..", "/x", "//x", "a//b", "a/", "./x", "a\\b", "..\\x",
    "C:x", "c:/x", "a\0b", "a\nb", "\x1b[2J", "\u202ex", "\ud800", "x" * 256, "a/" * 600 + "a",
    None, 1, b"x", ["x"],
)  # fmt: skip


@pytest.mark.parametrize("name", OUT, ids=[ascii(name)[:20] for name in OUT])
def test_a_name_that_may_lead_out_is_refused(tmp_path: Path, name: object) -> None:
    assert not is_inner(name)
    with pytest.raises(CheckpointError, match="no place inside a folder") as caught:
        inside(tmp_path, name, CheckpointError, by="model.safetensors.index.json")
    message = str(caught.value)
    assert message.startswith("model.safetensors.index.json: names the file ")
    assert message.isprintable() and len(message) < 400
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("name", ["x", "a/b.txt", "..x", "x..", "é/日本", "ab:c", ".hidden", "C"])
def test_other_names_are_places(tmp_path: Path, name: str) -> None:
    assert inside(tmp_path, name, CheckpointError) == tmp_path / name


def test_links_out_are_refused_where_asked(tmp_path: Path) -> None:
    folder, beside = tmp_path / "in", tmp_path / "in2"
    folder.mkdir()
    beside.mkdir()
    (beside / "x").touch()
    (folder / "x").touch()
    (folder / "here").symlink_to("x")
    (folder / "out").symlink_to("../in2/x")
    (folder / "way").symlink_to(beside)
    (folder / "loop").symlink_to("loop")
    for name in ("x", "here", "not-there", "loop"):
        assert inside(folder, name, CheckpointError, links=False) == folder / name
    for name in ("out", "way/x", "way/not-there"):
        assert inside(folder, name, CheckpointError) == folder / name
        with pytest.raises(CheckpointError, match=r"leads by a link to '.*in2.*', out of"):
            inside(folder, name, CheckpointError, links=False)
