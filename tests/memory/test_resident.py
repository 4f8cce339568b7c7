"""Memory foreseen for llama.cpp beside the most that a process had resident: 5 % and 32 MB."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from qpipe.gguf.repacking import repacked_bytes
from qpipe.machine.identity import features
from qpipe.memory import RunSetting, Weights, memory
from qpipe.sizes import predict, shapes
from tests.memory.llama_log import header

MB = 10**6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind", "setting"),
    [
        ("HuggingFaceTB/SmolLM2-135M", "F16", RunSetting(context=8192, batch=256, ubatch=256)),
        (
            "google/gemma-3-270m",
            "Q8_0",
            RunSetting(context=16384, ubatch=512, batch=512, swa_full=True),
        ),
        ("Qwen/Qwen3-0.6B", "Q4_K_M", RunSetting(context=2048, batch=128, ubatch=128)),
    ],
)
def test_no_more_is_resident(name: str, kind: str, setting: RunSetting, tmp_path: Path) -> None:
    """``swa_full``: qpipe's own contexts keep all tokens of layers with windows, as by default."""
    config = shapes(name)
    assert config is not None
    file = header(config, tmp_path / "model.gguf", kind)
    words = [sys.executable, "-m", "tests.memory.resident", str(file)]
    words += [str(setting.context), str(setting.batch)]
    said = subprocess.run(words, check=True, capture_output=True, text=True)
    measured = json.loads(said.stdout)
    size = predict(config, {"method": "gguf", "type": kind}, vocabulary=0)
    used = memory(config, setting, weights=Weights.of_tensors(size.tensors))
    twice = repacked_bytes(size.tensors, size.kinds, features())
    foreseen = used.total + twice + measured["before"]
    assert foreseen == pytest.approx(measured["peak"], rel=0.05, abs=32 * MB), (
        f"{name} {kind}: {foreseen / MB:.0f} MB foreseen, {measured['peak'] / MB:.0f} MB taken"
    )
