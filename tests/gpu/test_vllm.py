"""vLLM's build for CUDA on a card, where `qpipe engines install vllm` was done.

It is a gigabyte of wheels, which `tests/gpu/pack.sh` does not gather.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from qpipe.evaluators.common.vllm_environment import CUDA
from qpipe.machine import gpus
from tests.cli import qpipe
from tests.gpu.running import MEASURED, GpuBench

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.skipif(not gpus.visible(), reason="needs an NVIDIA GPU"),
    pytest.mark.skipif(CUDA.problem() is not None, reason="qpipe engines install vllm"),
]


def test_as_it_is_served(bench: GpuBench) -> None:
    by = {
        backend: bench.run(*MEASURED, "quantize=gptq", f"evaluate.backend={backend}")["rows"]
        for backend in ("transformers", "vllm")
    }
    for mine, theirs in zip(by["vllm"], by["transformers"], strict=True):
        # In bfloat16, as config.json says, beside transformers' float32.
        assert abs(math.log(mine["ppl"] / theirs["ppl"])) < 0.02
        assert mine["measurements"][0]["arithmetic"]["device"] == "cuda"


def test_speed_of_two_on_one_card(tmp_path: Path) -> None:
    answer = qpipe(
        "run", "local", "model.source=builtin:tinystories-d256", "quantize=gptq", "evaluate=speed",
        "evaluate.backend=vllm", "evaluate.n_prompt=64", "evaluate.n_gen=16",
        "evaluate.batch_size=8", "calibration.samples=32", "calibration.length=256", "--json",
        cwd=tmp_path, timeout=600,
    )  # fmt: skip
    assert answer.code == 0, answer.stderr
    made = json.loads(answer.stdout)["rows"][-1]
    assert made["tg"] > 0
    assert made["peak_vram"] > 0
