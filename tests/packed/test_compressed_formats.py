"""Every format that the installed compressed-tensors has: what its own compressors write, read
here."""

from __future__ import annotations

import json
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qpipe.gguf.computed import ComputedTensor
from qpipe.packed import source
from qpipe.packed.formats.compressed import READ, UNREAD
from qpipe.packed.inspect import inspect
from tests.packed.checkpoints import checkpoint, plain

ROWS, COLUMNS = 64, 128
INT = {"type": "int", "symmetric": True}
FLOAT = {"type": "float", "symmetric": True}
MICRO = {**FLOAT, "strategy": "group", "group_size": 32, "scale_dtype": "torch.uint8"}
# The file's name of a case: format, arguments, format and bits as they are shown, bits each.
CASES: dict[str, tuple[str, dict[str, Any], str, float, float]] = {
    "naive int8": (
        "naive-quantized", {**INT, "num_bits": 8, "strategy": "channel"}, "W8A16", 8, 8.125),
    "int8": ("int-quantized", {**INT, "num_bits": 8, "strategy": "channel"}, "W8A16", 8, 8.125),
    "int4 a byte each": (
        "int-quantized", {**INT, "num_bits": 4, "strategy": "group", "group_size": 32},
        "W4A16-g32", 4, 8.5),
    "int4": (
        "pack-quantized", {**INT, "num_bits": 4, "strategy": "group", "group_size": 32},
        "W4A16-g32", 4, 4.515625),
    "int3": ("pack-quantized", {**INT, "num_bits": 3, "strategy": "channel"}, "W3A16", 3, 3.140625),
    "fp8 channel": (
        "float-quantized", {**FLOAT, "num_bits": 8, "strategy": "channel"}, "FP8A16", 8, 8.125),
    "fp8 tensor": (
        "float-quantized", {**FLOAT, "num_bits": 8, "strategy": "tensor"}, "FP8A16", 8,
        8.001953125),
    "nvfp4": (
        "nvfp4-pack-quantized",
        {**FLOAT, "num_bits": 4, "strategy": "tensor_group", "group_size": 16,
         "scale_dtype": "torch.float8_e4m3fn"},
        "NVFP4A16", 4, 4.50390625),
    "mxfp4": ("mxfp4-pack-quantized", {**MICRO, "num_bits": 4}, "MXFP4A16", 4, 4.25),
    "mxfp8": ("mxfp8-quantized", {**MICRO, "num_bits": 8}, "MXFP8A16", 8, 8.25),
}  # fmt: skip

pytest.importorskip("compressed_tensors")


def test_no_format_of_the_library_is_unknown_here() -> None:
    """A new one wants a line in `READ` or `UNREAD`, and a case above if it has a compressor."""
    formats = import_module("compressed_tensors.config").CompressionFormat
    assert {each.value for each in formats} == {*READ, *UNREAD}
    compressors = import_module("compressed_tensors.compressors").BaseCompressor
    written = {*compressors.registered_names()} - {"dense"}
    assert written == {form for form, *_ in CASES.values()}
    assert not written & {*UNREAD}


def compressed(folder: Path, form: str, **weights: Any) -> tuple[Path, Any]:
    """A checkpoint whose one matrix the library's compressor packed, and the matrix that its own
    decompression gives."""
    torch = import_module("torch")
    quantization = import_module("compressed_tensors.quantization")
    compressors = import_module("compressed_tensors.compressors")
    args = quantization.QuantizationArgs(**weights)
    scheme = quantization.QuantizationScheme(targets=["Linear"], weights=args, format=form)
    compressor = compressors.BaseCompressor.get_value_from_registry(form)
    weight = torch.from_numpy(plain()["model.layers.0.mlp.up_proj.weight"].astype(np.float32))
    groups = weight.reshape(ROWS, -1, args.group_size or COLUMNS)
    low, high = groups.amin(-1), groups.amax(-1)
    if args.strategy == "tensor":
        low, high = weight.amin().reshape(1), weight.amax().reshape(1)
    more = {}
    if form.startswith("nvfp4"):
        whole = quantization.utils.generate_gparam(weight.amin(), weight.amax())
        more = {"global_scale": whole}
    scale, _ = quantization.utils.calculate_qparams(low, high, args, **more)
    parts = {"weight": weight.bfloat16(), "weight_scale": scale}
    parts |= {"weight_global_scale": whole} if more else {}
    if "uint8" not in str(args.scale_dtype) and not more:
        parts["weight_scale"] = scale.bfloat16()
    packed = dict(compressor.compress(parts, scheme))
    meant = compressor.decompress(dict(packed), scheme)["weight"].float().numpy()
    name = "model.layers.0.mlp.up_proj"
    group = json.loads(scheme.model_dump_json(exclude_none=True))
    config = {
        "quant_method": "compressed-tensors", "format": form, "config_groups": {"group_0": group},
        "ignore": ["lm_head"], "quantization_status": "compressed",
    }  # fmt: skip
    kept = {key: value for key, value in plain().items() if not key.startswith(name)}
    checkpoint(folder, kept, quantization_config=config)
    own = {f"{name}.{suffix}": tensor.contiguous() for suffix, tensor in packed.items()}
    import_module("safetensors.torch").save_file(own, folder / "model-2.safetensors")
    shutil.move(folder / "model.safetensors", folder / "model-1.safetensors")
    places = dict.fromkeys(kept, "model-1.safetensors") | dict.fromkeys(own, "model-2.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return folder, meant


@pytest.mark.parametrize("name", CASES)
def test_what_the_librarys_compressors_write_is_read(tmp_path: Path, name: str) -> None:
    form, weights, label, bits, each = CASES[name]
    folder, meant = compressed(tmp_path, form, **weights)
    seen = inspect(folder)["quantization"]
    assert (seen["format"], seen["bits"], seen["modules"]) == (label, [bits], 1)
    assert seen["weights"] == ROWS * COLUMNS
    assert seen["bits_per_weight"] == pytest.approx(each, rel=1e-9)
    tensor = source.opened(folder).tensors["model.layers.0.mlp.up_proj.weight"]
    assert isinstance(tensor, ComputedTensor)
    ours = tensor.floats(0, ROWS)
    assert np.array_equal(ours, meant)


@pytest.mark.parametrize("form", UNREAD)
def test_formats_that_the_library_no_longer_reads_are_listed(tmp_path: Path, form: str) -> None:
    config = {"quant_method": "compressed-tensors", "format": form, "config_groups": {}}
    checkpoint(tmp_path, plain(), quantization_config=config)
    assert (
        inspect(tmp_path)["quantization"]["unread"] == f"by compressed-tensors in the format {form}"
    )
