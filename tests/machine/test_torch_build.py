"""For which CUDA torch was built, read from files as its builds write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpipe.machine import torch_build

_LINES = (
    "from typing import Optional\n__version__ = '{version}'\ndebug = False\n{cuda}\nhip = None\n"
)


@pytest.mark.parametrize(
    ("line", "version"),
    [
        ("cuda: Optional[str] = None", None),
        ("cuda: Optional[str] = '13.0'", "13.0"),
        ("cuda = '12.8'", "12.8"),
        ("cuda = None", None),
    ],
)
def test_the_build(tmp_path: Path, line: str, version: str | None) -> None:
    (tmp_path / "version.py").write_text(_LINES.format(version="2.13.0", cuda=line))
    assert torch_build.cuda(tmp_path) == version
    problem = torch_build.problem(tmp_path)
    assert (problem is None) == (version is not None)
    assert version or "torch is built without CUDA: install one" in str(problem)


def test_the_one_that_is_here() -> None:
    torch = pytest.importorskip("torch")
    assert torch_build.cuda() == torch.version.cuda
