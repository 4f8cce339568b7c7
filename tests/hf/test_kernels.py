"""Which kernel multiplies packed weights, in which precision, and that both are told."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from qpipe.errors import RecipeError
from qpipe.hf import kernels, precision
from qpipe.hf.backend import TransformersBackend
from qpipe.hf.load import load
from qpipe.hf.quantized import QuantizationSettings
from qpipe.machine import program
from tests.hf.test_hf_quantized import FORMATS, TOKENS, packed, plain, write

torch = pytest.importorskip("torch")


def settings(method: str, **fields: Any) -> QuantizationSettings:
    whole = {"quant_method": method, "bits": 4, **fields}
    return QuantizationSettings(Path("config.json"), "quantization_config", method, whole)


@pytest.mark.parametrize(
    ("method", "fields", "device", "kernel", "name"),
    [
        ("gptq", {}, "cpu", "auto", "gptq_torch"),
        ("gptq", {"bits": 8}, "cpu", "auto", None),
        ("gptq", {"bits": 8}, "cuda", "auto", "gptq_torch"),
        ("gptq", {}, "cuda", "auto", "gptq_torch"),
        ("gptq", {}, "cuda", "marlin", "gptq_marlin"),
        ("gptq", {}, "cuda", "triton", "gptq_triton"),
        ("gptq", {}, "cuda", "machete", "gptq_machete"),
        ("awq", {}, "cpu", "auto", "torch_awq"),
        ("awq", {"group_size": -1}, "cuda", "auto", "torch_awq"),
        ("awq", {}, "cuda", "triton", "gemm_triton"),
        ("awq", {}, "cuda", "exllamav2", "exllama_v2"),
        ("auto-round", {}, "cpu", "auto", None),
        ("auto-round", {}, "cuda", "auto", "torch"),
        ("torchao", {}, "cuda", "auto", None),
    ],
)
def test_the_kernel_is_chosen_by_us(
    method: str, fields: dict[str, Any], device: str, kernel: str, name: str | None
) -> None:
    """Never by what is fastest on a card, which is compiled at the first load."""
    options = kernels.option(settings(method, **fields), device, kernel)
    assert (options["quantization_config"].backend if options else None) == name


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("bitsandbytes", r"evaluate.kernel=machete: is for GPTQ, AWQ and AutoRound, and this"),
        ("auto-round", r"there is none for auto-round; torch, triton, exllamav2, marlin are"),
    ],
)
def test_a_kernel_that_there_is_not(method: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        kernels.option(settings(method), "cuda", "machete")


def test_a_precision_that_a_format_has_not() -> None:
    group = {"weights": {"type": "float", "num_bits": 4}}
    fp4 = settings("compressed-tensors", config_groups={"group_0": group})
    precision.refuse(fp4, "auto")
    precision.refuse(fp4, "bfloat16")
    for dtype in ("float16", "float32"):
        with pytest.raises(RecipeError, match=f"dtype={dtype}: .* but in bfloat16; evaluate.dtype"):
            precision.refuse(fp4, dtype)
    precision.refuse(settings("gptq"), "float16")


def logits(model: Any) -> Any:
    with torch.inference_mode():
        return model(input_ids=torch.tensor(TOKENS)).logits.float()


@pytest.mark.parametrize("name", [None, "NVFP4", "W4A16"])
def test_all_is_computed_in_one_precision_where_it_is_asked_for(
    tmp_path: Path, name: str | None
) -> None:
    if name is None:
        folder = write(tmp_path, plain())
    else:
        pack, config = FORMATS[name]
        folder = write(tmp_path, packed(pack)[0], quantization_config=config)
    with TransformersBackend(folder, threads=1, dtype="bfloat16") as backend:
        assert backend.arithmetic == {"device": "cpu", "precision": "bfloat16"}
        assert backend.remarks == ()
        with torch.inference_mode():
            out = backend._loaded.model(input_ids=torch.tensor(TOKENS)).logits
        assert out.dtype == torch.bfloat16
    with TransformersBackend(folder, threads=1) as backend:
        own = "bfloat16" if name == "NVFP4" else "float32"
        assert backend.arithmetic == {"device": "cpu", "precision": own}


@pytest.mark.skipif(find_spec("gptqmodel") is None, reason="needs gptqmodel")
def test_awq_is_multiplied_in_float32(tmp_path: Path) -> None:
    """gptqmodel's plain kernel would round what it is given in float32 to float16."""
    done = program.run(
        [sys.executable, "-m", "tests.hf.awq_in_float32", tmp_path], name="awq", quiet=True
    )
    told = json.loads(done[-1])
    usual = {"device": "cpu", "precision": "float32", "kernel": "AwqTorchLinear"}
    assert told["arithmetic"] == usual
    assert told["off_by"] < 2e-5


def test_bitsandbytes_is_multiplied_in_float32(tmp_path: Path) -> None:
    """Left alone, it computes in the ``compute_dtype`` that the checkpoint asks for."""
    pytest.importorskip("bitsandbytes")
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    config = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16
    )
    source = write(tmp_path / "plain", plain())
    model = AutoModelForCausalLM.from_pretrained(source, quantization_config=config)
    model.save_pretrained(tmp_path / "nf4")
    loaded = load(tmp_path / "nf4")
    assert loaded.arithmetic == {"device": "cpu", "precision": "float32", "kernel": "Linear4bit"}
    of_bitsandbytes = AutoModelForCausalLM.from_pretrained(tmp_path / "nf4", dtype=torch.float32)
    assert 0 < (logits(loaded.model) - logits(of_bitsandbytes)).abs().max() < 0.2
