"""Which GPUs CUDA shows, of device nodes in a folder, with a library of the driver or without."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpipe.machine import gpus

HERE, NOT_HERE = (
    "libc.so.6",
    "libcuda_of_nobody.so.1",
)  # a library that loads, and one that does not


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four GPUs, of which a container was given numbers 2, 3, 10 and 11."""
    (tmp_path / "dev").mkdir()
    for name in ("nvidia10", "nvidia2", "nvidia3", "nvidia11", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / "dev" / name).touch()
    return tmp_path


def test_devices_by_number(root: Path) -> None:
    assert gpus.devices(root) == [f"/dev/nvidia{number}" for number in (2, 3, 10, 11)]


@pytest.mark.parametrize(
    ("variable", "visible"),
    [
        (None, ["0", "1", "2", "3"]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("3,1", ["3", "1"]),
        ("0, 2,-1,1", ["0", "2"]),
        ("1,4,2", ["1"]),
        ("0,0", ["0"]),
        ("GPU-8932f937,MIG-4-5,2", ["GPU-8932f937", "MIG-4-5", "2"]),
    ],
)
def test_the_environment_chooses(
    root: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None, visible: list[str]
) -> None:
    monkeypatch.delenv(gpus.VARIABLE, raising=False)
    if variable is not None:
        monkeypatch.setenv(gpus.VARIABLE, variable)
    assert gpus.visible(root, HERE) == visible
    problem = gpus.problem(root, HERE)
    if visible:
        assert problem is None
    else:
        assert f"CUDA_VISIBLE_DEVICES={variable} hides /dev/nvidia2, " in str(problem)


def test_devices_without_the_driver(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(gpus.VARIABLE, raising=False)
    assert gpus.visible(root, NOT_HERE) == []
    assert f"not the driver's {NOT_HERE}" in str(gpus.problem(root, NOT_HERE))


def test_no_device(tmp_path: Path) -> None:
    assert gpus.visible(tmp_path, HERE) == []
    assert gpus.problem(tmp_path, HERE) == "there is no NVIDIA device"
