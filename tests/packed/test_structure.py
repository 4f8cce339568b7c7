"""What packed checkpoints must hold, format by format, with shapes computed by hand."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qpipe.errors import CheckpointError
from qpipe.packed import structure
from tests.packed.checkpoints import around, checkpoint, plain

Arrays = dict[str, Any]


def state(rows: int, columns: int) -> Any:
    text = json.dumps({"shape": [rows, columns], "blocksize": 64, "dtype": "bfloat16"})
    return np.frombuffer(text.encode(), np.uint8)


# Of a matrix of 64 rows and 128 columns: what each format stores of it.
def gptq() -> tuple[Arrays, dict[str, Any]]:
    parts = {
        "qweight": np.zeros((128 * 4 // 32, 64), np.int32),
        "qzeros": np.zeros((4, 64 * 4 // 32), np.int32),
        "scales": np.zeros((4, 64), np.float16),
        "g_idx": np.zeros(128, np.int32),
    }
    return parts, {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": True}


def awq() -> tuple[Arrays, dict[str, Any]]:
    parts = {
        "qweight": np.zeros((128, 64 * 4 // 32), np.int32),
        "qzeros": np.zeros((2, 64 * 4 // 32), np.int32),
        "scales": np.zeros((2, 64), np.float16),
    }
    return parts, {"quant_method": "awq", "bits": 4, "group_size": 64, "version": "gemm"}


def autoround() -> tuple[Arrays, dict[str, Any]]:
    parts, _ = gptq()
    own = {"model.layers.0.mlp.up_proj": {"group_size": 32}}
    config = {"bits": 4, "group_size": 128, "packing_format": "auto_round:auto_gptq"}
    return parts, {"quant_method": "auto-round", **config, "extra_config": own}


def autoround_with_zeros() -> tuple[Arrays, dict[str, Any]]:
    parts, config = awq()
    return parts, {**config, "quant_method": "auto-round", "packing_format": "auto_round:auto_awq"}


def gemv() -> tuple[Arrays, dict[str, Any]]:
    # Two groups of 64 columns need one word of zero points, padded to two.
    parts = {
        "qweight": np.zeros((64, 128 * 4 // 32), np.int32),
        "qzeros": np.zeros((64, 2), np.int32),
        "scales": np.zeros((64, 2 * 8), np.float16),
    }
    return parts, {"quant_method": "awq", "bits": 4, "group_size": 64, "version": "gemv"}


def group(bits: int, size: int | None, activations: bool) -> dict[str, Any]:
    weights = {"num_bits": bits, "group_size": size}
    return {"weights": weights, "input_activations": {"num_bits": 8} if activations else None}


def packed() -> tuple[Arrays, dict[str, Any]]:
    parts = {
        "weight_packed": np.zeros((64, 128 * 4 // 32), np.int32),
        "weight_scale": np.zeros((64, 2), np.uint16),
        "weight_shape": np.array([64, 128], np.int64),
        "weight_zero_point": np.zeros((64 * 4 // 32, 2), np.int32),
    }
    groups = {"group_0": group(4, 64, False)}
    return parts, {"quant_method": "compressed-tensors", "config_groups": groups}


def w8a8() -> tuple[Arrays, dict[str, Any]]:
    parts = {"weight": np.zeros((64, 128), np.int8), "weight_scale": np.zeros((64, 1), np.uint16)}
    groups = {"group_0": group(8, None, True)}
    return parts, {"quant_method": "compressed-tensors", "config_groups": groups}


def nf4() -> tuple[Arrays, dict[str, Any]]:
    parts = {
        "weight": np.zeros((64 * 128 // 2, 1), np.uint8),
        "weight.absmax": np.zeros(64 * 128 // 64, np.float32),
        "weight.quant_map": np.zeros(16, np.float32),
        "weight.quant_state.bitsandbytes__nf4": state(64, 128),
    }
    config = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
    return parts, config


def int8() -> tuple[Arrays, dict[str, Any]]:
    parts = {"weight": np.zeros((64, 128), np.int8), "SCB": np.zeros(64, np.float32)}
    return parts, {"quant_method": "bitsandbytes", "load_in_8bit": True}


def torchao() -> tuple[Arrays, dict[str, Any]]:
    parts = {
        "_weight_qdata": np.zeros((64, 128), np.int8),
        "_weight_scale": np.zeros((64, 1), np.float32),
    }
    kind = {"default": {"_type": "Int8WeightOnlyConfig"}}
    return parts, {"quant_method": "torchao", "quant_type": kind}


FORMATS = {
    "GPTQ-4bit-g32-actorder": gptq, "AWQ-4bit-g64": awq, "AWQ-4bit-g64-GEMV": gemv,
    "W4A16-g64": packed, "W8A8": w8a8, "bnb-NF4": nf4, "bnb-INT8": int8, "ao-W8A16": torchao,
    "AutoRound-4bit-g128": autoround, "AutoRound-4bit-g64": autoround_with_zeros,
}  # fmt: skip
Maker = Callable[[], tuple[Arrays, dict[str, Any]]]


@pytest.mark.parametrize(("label", "make"), FORMATS.items(), ids=FORMATS)
def test_what_is_whole_is_read(tmp_path: Path, label: str, make: Maker) -> None:
    parts, config = make()
    made = checkpoint(tmp_path / "made", around(parts), quantization_config=config)
    found = structure.read(made)
    structure.compare(found, checkpoint(tmp_path / "source", plain()))
    assert found.label == label
    weights = 32 * 128 + 128 + 64 * 128
    stored = sum(array.nbytes for array in around(parts).values())
    assert found.facts["n_weights"] == weights
    assert found.facts["tensor_bytes"] == stored
    assert found.facts["bits_per_weight"] == stored * 8 / weights
    assert found.facts["n_tensors"] == 3


@pytest.mark.parametrize("make", FORMATS.values(), ids=FORMATS)
def test_each_part_is_checked(tmp_path: Path, make: Maker) -> None:
    """A part that is missing, cut, or of another type: each alone is refused, by name."""
    parts, config = make()
    source = checkpoint(tmp_path / "source", plain())
    for name, array in parts.items():
        if name in ("g_idx", "weight_zero_point", "weight.quant_map", "_weight_qdata"):
            continue  # may be absent, or without it nothing says that the module is packed
        others = {other: kept for other, kept in parts.items() if other != name}
        wrong_type = array.astype(np.int32 if array.dtype == np.int64 else np.int64)
        for wrong in (None, array[:-1], wrong_type):
            changed = others if wrong is None else {**others, name: wrong}
            made = checkpoint(tmp_path / "made", around(changed), quantization_config=config)
            with pytest.raises(CheckpointError, match=r"up_proj|no module is packed"):
                structure.compare(structure.read(made), source)


def test_a_wrong_group_size_is_noticed(tmp_path: Path) -> None:
    parts, config = gptq()
    made = checkpoint(tmp_path, around(parts), quantization_config={**config, "group_size": 64})
    words = "scales' is [4, 64], and a matrix of 64 × 128 in 4 bits and groups of 64 needs [2, 64]"
    with pytest.raises(CheckpointError, match=re.escape(words)):
        structure.read(made)


def test_rules_of_gptqmodel_are_followed(tmp_path: Path) -> None:
    parts, config = gptq()
    rule = {r"+:^model\.layers\.0\.mlp\.up_proj$": {"group_size": 32}}
    config = {**config, "group_size": 128, "dynamic": rule}
    made = checkpoint(tmp_path, around(parts), quantization_config=config)
    (module,) = structure.read(made).modules.values()
    assert module.type == "GPTQ-4bit-g32"


def test_what_got_lost_is_named(tmp_path: Path) -> None:
    source = checkpoint(tmp_path / "source", plain())
    parts, config = awq()
    tensors = around(parts)
    del tensors["model.norm.weight"]
    made = checkpoint(tmp_path / "made", tensors, quantization_config=config)
    with pytest.raises(CheckpointError, match=r"'model\.norm\.weight' of the original is missing"):
        structure.compare(structure.read(made), source)
    wide = {**plain(), "model.layers.0.mlp.up_proj.weight": np.zeros((64, 256), np.float16)}
    made = checkpoint(tmp_path / "made", around(parts), quantization_config=config)
    with pytest.raises(CheckpointError, match=r"is \[64, 128\], and \[64, 256\] in the original"):
        structure.compare(structure.read(made), checkpoint(tmp_path / "source", wide))


def test_an_unknown_method_and_an_empty_config_are_named(tmp_path: Path) -> None:
    made = checkpoint(tmp_path, plain(), quantization_config={"quant_method": "gtpq"})
    with pytest.raises(CheckpointError, match="did you mean 'gptq'"):
        structure.read(made)
    parts, _ = gptq()
    made = checkpoint(tmp_path, around(parts), quantization_config={"quant_method": "gptq"})
    with pytest.raises(CheckpointError, match="says too little"):
        structure.read(made)


def test_a_plain_checkpoint_is_called_by_its_precision(tmp_path: Path) -> None:
    assert structure.read(checkpoint(tmp_path, plain())).label == "FP16"
