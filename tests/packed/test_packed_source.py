"""Packed matrices as their own libraries dequantize them, bit for bit."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qpipe.gguf.computed import ComputedTensor
from qpipe.gguf.rows import matrix_rows
from qpipe.packed import source

torch = pytest.importorskip("torch")

ROWS, COLUMNS = 160, 256
NAME = "model.layers.0.mlp.up_proj"
Made = tuple[dict[str, Any], dict[str, Any], Any]
"""(the parts by suffix, the quantization_config, what the library makes of them)."""


def normal(*shape: int, seed: int = 0, dtype: Any = None) -> Any:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(*shape, generator=generator) * 0.05).to(dtype or torch.bfloat16)


def codes(*shape: int, high: int = 2**31, seed: int = 0) -> Any:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-high, high, shape, generator=generator, dtype=torch.int64).to(torch.int32)


def compressed(form: str, *, scale_dtype: Any = None, shape: Any = None, **weights: Any) -> Made:
    quantization = import_module("compressed_tensors.quantization")
    args = quantization.QuantizationArgs(**weights)
    scheme = quantization.QuantizationScheme(targets=["Linear"], weights=args)
    weight = normal(*(shape or (ROWS, COLUMNS)))
    rows, columns = weight.shape
    match args.strategy:
        case "tensor":
            blocks = weight.float().reshape(1, -1)
        case "channel":
            blocks = weight.float()
        case "block":
            high, wide = args.block_structure
            padded = torch.nn.functional.pad(weight.float(), (0, -columns % wide, 0, -rows % high))
            blocks = padded.reshape(-(-rows // high), high, -(-columns // wide), wide)
            blocks = blocks.transpose(1, 2).flatten(2)
        case _:
            blocks = weight.float().reshape(rows, -1, args.group_size)
    low, high = blocks.amin(-1), blocks.amax(-1)
    extra = {}
    if form == "nvfp4-pack-quantized":
        whole = torch.tensor([448 * 6 / float(weight.abs().max())])
        scale = (whole * high.abs() / 6).to(torch.float8_e4m3fn).float()
        zero, extra = None, {"weight_global_scale": whole}
    else:
        scale, zero = quantization.utils.calculate_qparams(low, high, args)
        scale = scale.to(scale_dtype or torch.bfloat16)
    if args.strategy in ("channel", "tensor"):
        scale = scale.reshape(-1, 1) if args.strategy == "channel" else scale.reshape(1)
        zero = zero.reshape(scale.shape) if zero is not None else None
    parts = {"weight": weight, "weight_scale": scale, **extra}
    if zero is not None:
        parts["weight_zero_point"] = zero
    compressors = import_module("compressed_tensors.compressors")
    compressor = compressors.BaseCompressor.get_value_from_registry(form)
    packed = compressor.compress(parts, scheme)
    config = {
        "quant_method": "compressed-tensors",
        "format": form,
        "config_groups": {"group_0": json.loads(scheme.model_dump_json(exclude_none=True))},
    }
    return packed, config, compressor.decompress(packed, scheme)["weight"]


def library(name: str) -> Any:
    """A module of gptqmodel 7.6.0, the environment left as it was.

    It points HF_HOME and HF_HUB_CACHE elsewhere, and imports setuptools, by way of torch, which
    fails where distutils came first.
    """
    before = dict(os.environ)
    if sys.version_info < (3, 12):
        os.environ["SETUPTOOLS_USE_DISTUTILS"] = "stdlib"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return import_module(name)
    finally:
        os.environ.clear()
        os.environ.update(before)


def gptq(
    bits: int, size: int = 64, *, v2: bool = False, order: bool = False, dtype: Any = None
) -> Made:
    model = library("gptqmodel.utils.model")
    linear = library("gptqmodel.nn_modules.qlinear.torch").TorchLinear(
        bits=bits, group_size=size, sym=False, desc_act=order, in_features=COLUMNS,
        out_features=ROWS, bias=False, register_buffers=True,
    )  # fmt: skip
    linear.qweight = codes(*linear.qweight.shape)
    zeros = codes(*linear.qzeros.shape, seed=1)
    linear.qzeros = zeros.clone()
    linear.scales = normal(*linear.scales.shape, seed=2, dtype=dtype or torch.float16).abs()
    group = torch.arange(COLUMNS) // (COLUMNS if size == -1 else size)
    if order:
        group = group[torch.randperm(COLUMNS, generator=torch.Generator().manual_seed(3))]
    linear.g_idx = group.to(torch.int32)
    if not v2:
        model.convert_gptq_v1_to_v2_format_module(linear, bits, torch.int32)
    linear.post_init()
    parts = {"qweight": linear.qweight, "qzeros": zeros, "scales": linear.scales}
    parts["g_idx"] = linear.g_idx
    config = {
        "quant_method": "gptq", "bits": bits, "group_size": size, "desc_act": order,
        "checkpoint_format": "gptq_v2" if v2 else "gptq",
    }  # fmt: skip
    return parts, config, linear.dequantize_weight().T


def awq(size: int = 64) -> Made:
    parts = {
        "qweight": codes(COLUMNS, ROWS // 8),
        "qzeros": codes(COLUMNS // size, ROWS // 8, seed=1),
        "scales": normal(COLUMNS // size, ROWS, seed=2, dtype=torch.float16).abs(),
    }
    config = {"quant_method": "awq", "bits": 4, "group_size": size, "version": "gemm"}
    packing = library("gptqmodel.quantization.awq.utils.packing_utils")
    return parts, config, packing.dequantize_gemm(**parts, bits=4, group_size=size).T


def fp8(*, block: tuple[int, int] | None = (128, 128), rows: int = 256) -> Made:
    weight = normal(rows, COLUMNS, dtype=torch.float32).mul(1000).to(torch.float8_e4m3fn)
    shape = (rows // block[0], COLUMNS // block[1]) if block else ()
    scale = torch.rand(shape, generator=torch.Generator().manual_seed(1)) * 1e-3
    config = {"quant_method": "fp8", "weight_block_size": list(block) if block else None}
    integration = import_module("transformers.integrations.finegrained_fp8")
    theirs = integration.Fp8Dequantize(None)._dequantize_one(
        weight, scale.reshape(shape or (1, 1)), torch.bfloat16
    )
    return {"weight": weight, "weight_scale_inv": scale}, config, theirs


def bitsandbytes(kind: str, *, nested: bool, dtype: Any = None, block: int = 64) -> Made:
    functional = import_module("bitsandbytes.functional")
    weight = normal(ROWS, COLUMNS, dtype=dtype)
    packed, state = functional.quantize_4bit(
        weight, blocksize=block, compress_statistics=nested, quant_type=kind
    )
    parts = {f"weight.{name}": value for name, value in state.as_dict(packed=True).items()}
    config = {
        "quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": kind,
        "bnb_4bit_use_double_quant": nested,
    }  # fmt: skip
    return {"weight": packed, **parts}, config, functional.dequantize_4bit(packed, state)


def int8() -> Made:
    functional = import_module("bitsandbytes.functional")
    weight, scale, _ = functional.int8_vectorwise_quant(normal(ROWS, COLUMNS, dtype=torch.float16))
    config = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    return (
        {"weight": weight, "SCB": scale},
        config,
        functional.int8_vectorwise_dequant(weight, scale),
    )


def modelopt_nvfp4() -> Made:
    """What ``NVFP4QTensor.dequantize`` of nvidia-modelopt 0.47 does, in torch."""
    weight = codes(ROWS, COLUMNS // 2, high=128).to(torch.int8).view(torch.uint8)
    scale = normal(ROWS, COLUMNS // 16).abs().mul(1000).to(torch.float8_e4m3fn)
    whole = torch.tensor(0.00123)
    numbers = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6])
    both = torch.stack([numbers[(weight & 15).long()], numbers[(weight >> 4).long()]], -1)
    theirs = both.reshape(ROWS, -1, 16) * (scale.float() * whole).unsqueeze(-1)
    parts = {"weight": weight, "weight_scale": scale, "weight_scale_2": whole}
    config = {"quant_method": "modelopt", "quant_algo": "NVFP4"}
    return parts, config, theirs.reshape(ROWS, COLUMNS).to(torch.bfloat16)


INT4 = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32}
FP8 = {"num_bits": 8, "type": "float"}
CASES: dict[str, Callable[[], Made]] = {
    "int4": lambda: compressed("pack-quantized", symmetric=True, **INT4),
    "int4-asymmetric": lambda: compressed("pack-quantized", symmetric=False, **INT4),
    "int4-f16": lambda: compressed(
        "pack-quantized", symmetric=False, scale_dtype=torch.float16, **INT4
    ),
    "int3": lambda: compressed("pack-quantized", symmetric=False, **{**INT4, "num_bits": 3}),
    "int8-channel": lambda: compressed(
        "pack-quantized", symmetric=False, num_bits=8, type="int", strategy="channel"
    ),
    "w8a8": lambda: compressed(
        "int-quantized", num_bits=8, type="int", strategy="channel", scale_dtype=torch.float32
    ),
    "w8a8-asymmetric": lambda: compressed(
        "int-quantized", symmetric=False, num_bits=8, type="int", strategy="tensor"
    ),
    "fp8-tensor": lambda: compressed("float-quantized", strategy="tensor", **FP8),
    "fp8-channel": lambda: compressed("float-quantized", strategy="channel", **FP8),
    "fp8-channel-f32": lambda: compressed(
        "float-quantized", strategy="channel", scale_dtype=torch.float32, **FP8
    ),
    "fp8-block": lambda: compressed(
        "float-quantized", strategy="block", block_structure=[128, 128], shape=(200, 320), **FP8
    ),
    "nvfp4": lambda: compressed(
        "nvfp4-pack-quantized", num_bits=4, type="float", strategy="tensor_group", group_size=16
    ),
    "mxfp4": lambda: compressed(
        "mxfp4-pack-quantized", num_bits=4, type="float", strategy="group", group_size=32
    ),
    "mxfp8": lambda: compressed(
        "mxfp8-quantized", strategy="group", group_size=32, scale_dtype=torch.bfloat16, **FP8
    ),
    "gptq4": lambda: gptq(4),
    "gptq4-v2": lambda: gptq(4, v2=True),
    "gptq4-order": lambda: gptq(4, order=True),
    "gptq4-bf16": lambda: gptq(4, dtype=torch.bfloat16),
    "gptq4-row": lambda: gptq(4, -1),
    "gptq2": lambda: gptq(2),
    "gptq3": lambda: gptq(3),
    "gptq8": lambda: gptq(8, order=True),
    "awq": awq,
    "transformers-fp8": fp8,
    "transformers-fp8-whole": lambda: fp8(block=None),
    "nf4": lambda: bitsandbytes("nf4", nested=False),
    "nf4-nested": lambda: bitsandbytes("nf4", nested=True),
    "nf4-f16": lambda: bitsandbytes("nf4", nested=True, dtype=torch.float16, block=128),
    "nf4-f32": lambda: bitsandbytes("nf4", nested=True, dtype=torch.float32),
    "fp4": lambda: bitsandbytes("fp4", nested=True),
    "llm.int8": int8,
    "modelopt-nvfp4": modelopt_nvfp4,
}


def write(folder: Path, tensors: dict[str, Any], config: dict[str, Any]) -> Path:
    from safetensors.torch import save_file

    folder.mkdir(exist_ok=True)
    save_file({n: t.contiguous() for n, t in tensors.items()}, folder / "model.safetensors")
    fields = {"architectures": ["LlamaForCausalLM"], "quantization_config": config}
    (folder / "config.json").write_text(json.dumps(fields))
    return folder


def named(parts: dict[str, Any]) -> dict[str, Any]:
    plain = {"model.embed_tokens.weight": normal(32, 64), f"{NAME}.bias": normal(ROWS)}
    return {**plain, **{f"{NAME}.{suffix}": part for suffix, part in parts.items()}}


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    parts, config, theirs = CASES[request.param]()
    yield write(tmp_path_factory.mktemp("source") / "m", named(parts), config), theirs


def test_numbers_and_precision_are_the_librarys(case: tuple[Path, Any]) -> None:
    folder, theirs = case
    tensors = source.opened(folder).tensors
    ours = tensors[f"{NAME}.weight"]
    assert isinstance(ours, ComputedTensor)
    assert ours.shape == tuple(theirs.shape)
    assert ours.dtype == {"torch.bfloat16": "BF16", "torch.float16": "F16"}.get(
        str(theirs.dtype), "F32"
    )
    expected = theirs.float().numpy().view(np.uint32)
    rows = ours.shape[0]
    for start, stop in ((0, rows), (0, 1), (31, 65), (rows - 3, rows)):
        assert np.array_equal(matrix_rows(ours, start, stop).view(np.uint32), expected[start:stop])
    assert set(tensors) == {"model.embed_tokens.weight", f"{NAME}.bias", f"{NAME}.weight"}
