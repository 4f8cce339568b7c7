"""What nvidia-smi says of memory, of one that a test wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpipe.machine import gpu_memory


def program(folder: Path, script: str) -> str:
    """An executable that stands for nvidia-smi."""
    file = folder / "nvidia-smi"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return str(file)


@pytest.mark.parametrize(
    ("script", "bytes_of"),
    [
        ('[ "$1" = --query-gpu=memory.total ] && printf "143771\\n81559\\n"', (143771, 81559)),
        ("echo '[N/A]'", ()),
        ("echo 'No devices were found'; exit 6", ()),
    ],
)
def test_totals(tmp_path: Path, script: str, bytes_of: tuple[int, ...]) -> None:
    told = gpu_memory.totals(program(tmp_path, script))
    assert told == tuple(mib << 20 for mib in bytes_of)


def test_where_there_is_no_such_program(tmp_path: Path) -> None:
    assert gpu_memory.totals(str(tmp_path / "nothing")) == ()
