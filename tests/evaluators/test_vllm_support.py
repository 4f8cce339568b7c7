"""What is said of checkpoints that vLLM does not load, before anything runs; and its locks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qpipe.errors import CheckpointError
from qpipe.evaluators.common import vllm_environment as vllm
from qpipe.evaluators.common import vllm_support
from qpipe.machine import gpus
from tests.cli import called

GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True, "desc_act": False}
AWQ = {"quant_method": "awq", "bits": 4, "version": "gemm"}
ACTIVATIONS = {"num_bits": 8, "type": "int", "dynamic": True}


def packed(weights: dict[str, Any], activations: Any = None) -> dict[str, Any]:
    """compressed-tensors' settings of one group of modules."""
    group = {"weights": weights, "input_activations": activations, "targets": ["Linear"]}
    return {"quant_method": "compressed-tensors", "config_groups": {"group_0": group}}


INT4 = packed({"num_bits": 4, "type": "int"})
W8A8 = packed({"num_bits": 8, "type": "int"}, ACTIVATIONS)
FP8_WEIGHTS = {"num_bits": 8, "type": "float", "strategy": "channel"}
MXFP8 = {"num_bits": 8, "type": "float", "strategy": "group", "scale_dtype": "torch.uint8"}
FP8 = packed(FP8_WEIGHTS, ACTIVATIONS)
BLOCKS = packed({"num_bits": 8, "type": "float", "strategy": "block"}, ACTIVATIONS)


def checkpoint(folder: Path, quantization: dict[str, Any] | None, **fields: Any) -> Path:
    config = {"model_type": "llama", "hidden_size": 256, "intermediate_size": 768, **fields}
    if quantization is not None:
        config["quantization_config"] = quantization
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("quantization", "words"),
    [
        ({**GPTQ, "bits": 3}, "3 bits, sym=true"),
        ({**GPTQ, "sym": False}, "quantize.sym=true), and this has 4 bits, sym=false"),
        ({**GPTQ, "desc_act": True}, "quantize.desc_act=false"),
        ({**AWQ, "bits": 8}, "of AWQ it has kernels for 4 bits, and this has 8"),
        ({**AWQ, "version": "gemv"}, "it reads version GEMM, and this is GEMV"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "it has no method bitsandbytes"),
        ({"quant_method": "torchao"}, "by the package torchao"),
    ],
)
def test_refused_everywhere(tmp_path: Path, quantization: dict[str, Any], words: str) -> None:
    folder = checkpoint(tmp_path, quantization)
    for on_cpu in (False, True):
        with pytest.raises(CheckpointError) as caught:
            vllm_support.refuse(folder, on_cpu=on_cpu)
        assert words in str(caught.value)
        assert "evaluate.backend=transformers measures it" in str(caught.value)


@pytest.mark.parametrize(
    ("quantization", "fields", "words"),
    [
        ({**GPTQ, "bits": 8}, {}, "a kernel for 4 bits alone, and this has 8"),
        (packed({"num_bits": 8, "type": "int"}), {}, "weights of 4 bits alone, and this has 8"),
        (packed({"num_bits": 4, "type": "float"}), {}, "no kernel for floats of 4 bits"),
        (packed({"num_bits": 4, "type": "int"}, ACTIVATIONS), {}, "no kernel for weights of 4"),
        (packed(MXFP8, ACTIVATIONS), {}, "no kernel for MXFP8"),
        (packed(FP8_WEIGHTS, {**ACTIVATIONS, "dynamic": False}), {}, "quantize.scheme=dynamic"),
        (GPTQ, {"hidden_size": 48}, "32 divides, and hidden_size is 48"),
        ({"quant_method": "mxfp4"}, {}, "no kernel for mxfp4"),
    ],
)
def test_refused_on_a_cpu(
    tmp_path: Path, quantization: dict[str, Any], fields: dict[str, Any], words: str
) -> None:
    folder = checkpoint(tmp_path, quantization, **fields)
    with pytest.raises(CheckpointError, match=words):
        vllm_support.refuse(folder, on_cpu=True)
    vllm_support.refuse(folder, on_cpu=False)


def test_blocks_of_fp8_want_amx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = checkpoint(tmp_path, BLOCKS)
    with monkeypatch.context() as patch:
        patch.setattr(vllm_support, "has_amx", lambda: False)
        with pytest.raises(CheckpointError, match="blocks of FP8 wants AMX"):
            vllm_support.refuse(folder, on_cpu=True)
        patch.setattr(vllm_support, "has_amx", lambda: True)
        vllm_support.refuse(folder, on_cpu=True)
    told = tmp_path / "cpuinfo"
    told.write_text("flags\t: fpu avx512f amx_bf16 amx_tile\n")
    assert vllm_support.has_amx(told)
    assert not vllm_support.has_amx(tmp_path / "none")


@pytest.mark.parametrize(
    ("quantization", "model", "precision"),
    [
        (None, "llama", "float32"),
        (GPTQ, "llama", "float16"),
        (AWQ, "gemma2", "bfloat16"),
        (INT4, "llama", "float16"),
        (W8A8, "llama", "float32"),
        (FP8, "llama", "float16"),
    ],
)
def test_precision(
    tmp_path: Path, quantization: dict[str, Any] | None, model: str, precision: str
) -> None:
    folder = checkpoint(tmp_path, quantization, model_type=model)
    vllm_support.refuse(folder, on_cpu=True)
    assert vllm_support.dtype(folder, on_cpu=True) == precision
    assert vllm_support.dtype(folder, on_cpu=False) == "auto"


@pytest.mark.parametrize("environment", [vllm.CPU, vllm.CUDA], ids=lambda e: e.name)
def test_locks(environment: Any) -> None:
    lock = environment.requirements_lock
    assert lock.torch == "2.13.0"
    assert vllm.release(environment) == "0.32.0"
    assert environment.script.is_file()
    assert environment.command == "qpipe engines install vllm"
    # Of torch's own build there is nothing: it is a matter of the machine.
    assert not lock.names & {"nvidia-cublas", "nvidia-cudnn-cu13", "cuda-bindings", "cuda-toolkit"}
    assert vllm.fingerprint(environment)["lock"] == lock.digest


@pytest.mark.skipif(bool(gpus.visible()), reason="there is a GPU")
def test_a_plan_says_what_is_missing(tmp_path: Path) -> None:
    answer = called(
        "plan", "local", "model.source=builtin:tinystories-d256", "quantize=gptq",
        "evaluate=perplexity", "evaluate.backend=vllm", "text=tinystories", cwd=tmp_path,
        env={"QPIPE_ENGINES": str(tmp_path / "engines")},
    )  # fmt: skip
    assert answer.code == 3
    assert "its environment is not installed: qpipe engines install vllm" in answer.stdout
