"""Small whole models, packed as models are published, by the tools' own functions."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.packed.packing import Packing

MODEL = Path(__file__).parents[2] / "qpipe" / "data" / "tinystories-d256"


def pack(source: Path, out: Path, matrix: Callable[[Any], dict[str, Any]], config: Any) -> Path:
    """A copy of ``source`` with ``matrix`` of each projection's weight in its place, by suffix."""
    torch = import_module("safetensors.torch")
    shutil.copytree(source, out)
    tensors = {}
    for name, weight in torch.load_file(source / "model.safetensors").items():
        if not name.endswith("_proj.weight"):
            tensors[name] = weight
            continue
        module = name.removesuffix(".weight")
        tensors |= {f"{module}.{suffix}": part for suffix, part in matrix(weight).items()}
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    torch.save_file(contiguous, out / "model.safetensors", metadata={"format": "pt"})
    fields = json.loads((out / "config.json").read_text()) | {"quantization_config": config}
    (out / "config.json").write_text(json.dumps(fields))
    return out


def compressed(source: Path, out: Path, form: str, scale_dtype: str, **weights: Any) -> Path:
    """By compressed-tensors: a group or a row that shares a scale, its smallest and its largest the
    ends of the range."""
    torch = import_module("torch")
    quantization = import_module("compressed_tensors.quantization")
    compressors = import_module("compressed_tensors.compressors")
    args = quantization.QuantizationArgs(**weights)
    scheme = quantization.QuantizationScheme(targets=["Linear"], weights=args, format=form)
    compressor = compressors.BaseCompressor.get_value_from_registry(form)

    def packed(weight: Any) -> dict[str, Any]:
        size = args.group_size or weight.shape[1]
        groups = weight.float().reshape(len(weight), -1, size)
        scale, zero = quantization.utils.calculate_qparams(groups.amin(-1), groups.amax(-1), args)
        parts = {
            "weight": weight,
            "weight_scale": scale.to(getattr(torch, scale_dtype)),
            "weight_zero_point": zero,
        }
        return dict(compressor.compress(parts, scheme))

    group = json.loads(scheme.model_dump_json(exclude_none=True))
    config = {
        "quant_method": "compressed-tensors", "format": form, "config_groups": {"group_0": group},
        "ignore": ["lm_head"], "quantization_status": "compressed",
    }  # fmt: skip
    return pack(source, out, packed, config)


def by_hand(source: Path, out: Path, packing: Callable[[Any], Packing]) -> Path:
    """By a function of `tests.packed.packing`."""
    torch = import_module("torch")
    config: dict[str, Any] = {}

    def packed(weight: Any) -> dict[str, Any]:
        parts, fields = packing(weight.float().numpy())
        config.update(fields)
        return {suffix: torch.from_numpy(array.copy()) for suffix, array in parts.items()}

    return pack(source, out, packed, config)
