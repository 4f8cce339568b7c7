"""A library that answers as a driver of eight NVIDIA cards does, and a folder with their nodes."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from qpipe.machine import gpus

SOURCE = Path(__file__).with_name("fake_cuda.c")


def compiled(folder: Path) -> str:
    """The path of the library, compiled into a folder."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    library = folder / "libcuda_of_tests.so"
    command = [compiler, "-shared", "-fPIC", "-w", "-o", str(library), str(SOURCE)]
    subprocess.run(command, check=True, capture_output=True)
    return str(library)


def with_nodes(root: Path, numbers: Iterable[int]) -> Path:
    """A root folder whose dev has the nodes of these cards."""
    (root / "dev").mkdir(parents=True)
    for number in numbers:
        (root / "dev" / f"nvidia{number}").touch()
    return root


def uuid(card: int) -> str:
    """A card's UUID, without the GPU- in front."""
    digits = f"{card + 1:02x}" * 16
    parts = (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
    return "-".join(parts)


def install(monkeypatch: pytest.MonkeyPatch, library: str, root: Path) -> None:
    """Have this process believe in the cards of the library, with the nodes below root."""
    visible, cards, problem = gpus.visible, gpus.cards.__wrapped__, gpus.problem
    monkeypatch.setattr(gpus, "visible", lambda *_: visible(root, library))
    monkeypatch.setattr(gpus, "cards", lambda names: cards(names, root, library))
    monkeypatch.setattr(gpus, "problem", lambda: problem(root, library))
