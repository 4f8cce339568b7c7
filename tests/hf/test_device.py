"""A worker computes where it was planned to, and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from qpipe.environments import child_runtime
from qpipe.errors import EngineMissingError, StageError
from qpipe.hf.device import computed_on, require
from qpipe.hf.load import load

STORIES = Path(__file__).parents[2] / "qpipe" / "data" / "tinystories-d256"
WITHOUT = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


@WITHOUT
def test_no_gpu_where_one_was_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(EngineMissingError, match=r"\(device=cuda\), and torch .*; device=cpu comp"):
        load(STORIES, device="cuda")


def test_a_gpu_that_nobody_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    require("cuda", alone=True)
    require("cpu")
    with pytest.raises(StageError, match="executor=local, which hides it"):
        require("cpu", alone=True)


def test_what_bytes_hang_on(monkeypatch: pytest.MonkeyPatch) -> None:
    told = computed_on("cpu", 3)
    assert told == {
        "device": "cpu", "instructions": torch.backends.cpu.get_cpu_capability(), "threads": 3,
    }  # fmt: skip
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: "NVIDIA H200")
    assert computed_on("cuda", 3) == {"device": "cuda", "gpu": "NVIDIA H200"}


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_scripts_in_environments_are_held_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    """Each device is promised where torch sees the other."""
    (tmp_path / "script.py").write_text("import torch\ndef run(job): return {}")
    names = ("params", "inputs", "tools")
    record: dict[str, Any] = {name: {} for name in names}
    record |= {"script": str(tmp_path / "script.py"), "out": "", "partial": None, "threads": 1}
    for sees in (False, True):
        monkeypatch.setattr(torch.cuda, "is_available", lambda sees=sees: sees)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: "NVIDIA H200")
        result = child_runtime.perform({**record, "device": device}, lambda *step: None)
        if sees == (device == "cuda"):
            assert result["facts"] == {}
            assert result["computed_on"] == computed_on(device, 1)
        else:
            assert f"(device={device})" in result["error"]["message"]
            assert result["error"]["type"] in ("EngineMissingError", "StageError")
