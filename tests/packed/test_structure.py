"""What packed checkpoints must hold, format by format, with shapes computed by hand."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qpipe.errors import CheckpointError
from qpipe.packed import source, structure
from qpipe.packed.inspect import inspect
from qpipe.packed.values.layouts import reader
from tests.packed.checkpoints import around, checkpoint, plain, scaled

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


def gemv_fast() -> tuple[Arrays, dict[str, Any]]:
    parts = {  # two groups of each row, filled up to 2 words of 8
        "qweight": np.zeros((16, 128), np.int16),
        "scales": np.zeros((16, 64), np.float16),
        "qzeros": np.zeros((16, 64), np.float16),
    }
    return parts, {**awq()[1], "version": "GEMV_FAST"}


def marlin() -> tuple[Arrays, dict[str, Any]]:
    parts = {
        "qweight": np.zeros((8, 128), np.int32),
        "scales": np.zeros((2, 64), np.float16),
    }
    return parts, {**awq()[1], "version": "marlin", "zero_point": False}


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


def scheme(kind: str, bits: int, **more: Any) -> dict[str, Any]:
    """compressed-tensors' settings for one group of modules, as version 0.19 writes them."""
    activations = more.pop("activations", None)
    weights = {"type": kind, "num_bits": bits, "symmetric": True, "dynamic": False, **more}
    made = {"targets": ["Linear"], "weights": weights, "input_activations": activations}
    return {"quant_method": "compressed-tensors", "config_groups": {"group_0": made}}


DYNAMIC = {"num_bits": 8, "type": "float", "dynamic": True}


def fp8(scale: Any, **more: Any) -> tuple[Arrays, dict[str, Any]]:
    parts = {"weight": np.zeros((64, 128), np.bool_), "weight_scale": scale}
    return parts, scheme("float", 8, **more)


def fp8_rows() -> tuple[Arrays, dict[str, Any]]:
    return fp8(np.zeros((64, 1), np.uint16), strategy="channel", activations=DYNAMIC)


def fp8_tensor() -> tuple[Arrays, dict[str, Any]]:
    parts, config = fp8(np.zeros(1, np.uint16), strategy="tensor",
                        activations={**DYNAMIC, "dynamic": False})  # fmt: skip
    return {**parts, "input_scale": np.zeros(1, np.uint16)}, config


def fp8_blocks() -> tuple[Arrays, dict[str, Any]]:
    # A row of blocks of 48 is not full: ceil(64 / 48), 128 / 64.
    return fp8(np.zeros((2, 2), np.uint16), strategy="block", block_structure=[48, 64])


def mxfp8() -> tuple[Arrays, dict[str, Any]]:
    more = {"strategy": "group", "group_size": 32, "scale_dtype": "torch.uint8"}
    return fp8(np.zeros((64, 4), np.uint8), **more)


def nvfp4() -> tuple[Arrays, dict[str, Any]]:
    parts = {
        "weight_packed": np.zeros((64, 64), np.uint8),
        "weight_scale": np.zeros((64, 8), np.bool_),
        "weight_global_scale": np.zeros(1, np.float32),
    }
    return parts, scheme("float", 4, strategy="tensor_group", group_size=16)


def mxfp4() -> tuple[Arrays, dict[str, Any]]:
    parts = {
        "weight_packed": np.zeros((64, 64), np.uint8), "weight_scale": np.zeros((64, 4), np.uint8),
    }  # fmt: skip
    return parts, scheme("float", 4, strategy="group", group_size=32, activations=DYNAMIC)


def int8_tensor() -> tuple[Arrays, dict[str, Any]]:
    parts = {"weight": np.zeros((64, 128), np.int8), "weight_scale": np.zeros(1, np.uint16)}
    return parts, scheme("int", 8, strategy="tensor")


def densely(bits: int) -> tuple[Arrays, dict[str, Any]]:
    parts = {
        "weight_packed": np.zeros((64, 128 * bits // 32), np.int32),
        "weight_scale": np.zeros((64, 2), np.uint16),
        "weight_shape": np.array([64, 128], np.int64),
        "weight_zero_point": np.zeros((64 * bits // 32, 2), np.int32),
    }
    return parts, scheme("int", bits, strategy="group", group_size=64)


def loosely() -> tuple[Arrays, dict[str, Any]]:
    """Ten values of three bits in a word, as compressed-tensors had it before 0.13."""
    parts, config = densely(3)
    return {**parts, "weight_packed": np.zeros((64, 13), np.int32),
            "weight_zero_point": np.zeros((7, 2), np.int32)}, config  # fmt: skip


def nf4_in_bf16() -> tuple[Arrays, dict[str, Any]]:
    parts, config = nf4()
    return {**parts, "weight": np.zeros((64 * 128 // 4, 1), np.uint16)}, config


def nf4_twice() -> tuple[Arrays, dict[str, Any]]:
    parts, config = nf4()
    more = {"blocksize": 64, "shape": [64, 128], "nested_blocksize": 100, "nested_offset": 0.1}
    state = np.frombuffer(json.dumps(more).encode(), np.uint8)
    return {
        **parts,
        "weight.absmax": np.zeros(128, np.uint8),
        "weight.quant_state.bitsandbytes__nf4": state,
        "weight.nested_absmax": np.zeros(2, np.float32),
        "weight.nested_quant_map": np.zeros(256, np.float32),
    }, {**config, "bnb_4bit_use_double_quant": True}


def deepseek() -> tuple[Arrays, dict[str, Any]]:
    parts = {
        "weight": np.zeros((64, 128), np.bool_), "weight_scale_inv": np.zeros((2, 3), np.float32),
    }  # fmt: skip
    return parts, {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [32, 48]}


def fp8_whole() -> tuple[Arrays, dict[str, Any]]:
    parts = {
        "weight": np.zeros((64, 128), np.bool_), "weight_scale_inv": np.zeros((), np.float32),
    }  # fmt: skip
    return parts, {"quant_method": "fp8", "activation_scheme": "dynamic"}


def ao(kind: str, data: dict[str, Any] | None = None) -> dict[str, Any]:
    inside = {"_type": kind, "_version": 2, "_data": data or {}}
    return {"quant_method": "torchao", "quant_type": {"default": inside}}


def ao_float8() -> tuple[Arrays, dict[str, Any]]:
    parts = {
        "_weight_qdata": np.zeros((64, 128), np.bool_),
        "_weight_scale": np.zeros((64, 1), np.float32),
    }
    return parts, ao("Float8WeightOnlyConfig")


def ao_intx() -> tuple[Arrays, dict[str, Any]]:
    parts = {
        "_weight_qdata": np.zeros((64, 128), np.int8),
        "_weight_scale": np.zeros((64, 4), np.uint16),
        "_weight_zero_point": np.zeros((64, 4), np.int8),
    }
    grouped = {"_type": "PerGroup", "_data": {"group_size": 32}}
    kind = {"_type": "torch.dtype", "_data": "int4"}
    return parts, ao("IntxWeightOnlyConfig", {"granularity": grouped, "weight_dtype": kind})


def rounded(parts: Arrays, **more: Any) -> tuple[Arrays, dict[str, Any]]:
    config = {"packing_format": "auto_round:llm_compressor", "group_size": 16, **more}
    return parts, {"quant_method": "auto-round", "autoround_version": "0.15.1", **config}


def autoround_nvfp4() -> tuple[Arrays, dict[str, Any]]:
    return rounded(nvfp4()[0], bits=4, data_type="nv_fp", act_data_type="nv_fp4_with_static_gs")


def autoround_mxfp8() -> tuple[Arrays, dict[str, Any]]:
    return rounded(mxfp8()[0], bits=8, data_type="mx_fp", group_size=32)


def autoround_fp8() -> tuple[Arrays, dict[str, Any]]:
    parts = {"weight": np.zeros((64, 128), np.bool_), "weight_scale": np.zeros(64, np.uint16),
             "input_scale": np.zeros(1, np.uint16)}  # fmt: skip
    return rounded(parts, bits=8, data_type="fp", group_size=-1)


def autoround_blocks() -> tuple[Arrays, dict[str, Any]]:
    sizes = {"group_size": [32, 48], "weight_block_size": [32, 48]}
    return rounded(deepseek()[0], bits=8, data_type="fp", **sizes)


def ao_nvfp4() -> tuple[Arrays, dict[str, Any]]:
    parts = {
        "_weight_qdata": np.zeros((64, 64), np.uint8),
        "_weight_scale": np.zeros((32, 32), np.bool_),
        "_weight_per_tensor_scale": np.ones((), np.float32),
    }
    return parts, ao("NVFP4WeightOnlyConfig", {"use_dynamic_per_tensor_scale": True})


def ao_mxfp8() -> tuple[Arrays, dict[str, Any]]:
    parts = {
        "_weight_qdata": np.zeros((64, 128), np.bool_),
        "_weight_scale": np.zeros((32, 16), np.uint8),
    }
    kind = {"_type": "torch.dtype", "_data": "float8_e4m3fn"}
    return parts, ao("MXDynamicActivationMXWeightConfig", {"weight_dtype": kind})


def ao_each() -> tuple[Arrays, dict[str, Any]]:
    """Two schemes: of these the module has the second."""
    parts, intx = ao_intx()
    rules = {
        "re:.*self_attn.*": {"_type": "Int8WeightOnlyConfig", "_data": {}},
        "re:model\\.layers\\.0\\.mlp\\..*": intx["quant_type"]["default"],
        "_default": None,
    }
    return parts, ao("FqnToConfig", {"fqn_to_config": rules})


def opted(algorithm: str, **parts: Any) -> tuple[Arrays, dict[str, Any]]:
    """ModelOpt's form in config.json."""
    maker = {"name": "modelopt", "version": "0.47.0"}
    return parts, {"quant_method": "modelopt", "quant_algo": algorithm, "producer": maker}


def opted_awq() -> tuple[Arrays, dict[str, Any]]:
    return opted(
        "NVFP4_AWQ",
        weight=np.zeros((64, 64), np.uint8),
        weight_scale=np.zeros((64, 8), np.bool_),
        weight_scale_2=np.ones((), np.float32),
        input_scale=np.ones((), np.float32),
        pre_quant_scale=np.ones(128, np.uint16),
    )


def opted_int4() -> tuple[Arrays, dict[str, Any]]:
    return opted(
        "W4A8_AWQ",
        weight=np.zeros((32, 128), np.uint8),
        weight_scale=np.zeros((64, 2), np.float32),
        weight_scale_2=np.ones((), np.float32),
        input_scale=np.ones((), np.float32),
    )


def opted_of_32() -> tuple[Arrays, dict[str, Any]]:
    return opted(
        "MIXED_PRECISION",
        weight=np.zeros((64, 64), np.uint8),
        weight_scale=np.zeros((64, 4), np.bool_),
        weight_scale_2=np.ones((), np.float32),
    )


def opted_blocks() -> tuple[Arrays, dict[str, Any]]:
    scale = np.zeros((2, 1, 4, 1), np.float32)
    return opted("fp8_pb_wo", weight=np.zeros((64, 128), np.bool_), weight_scale=scale)


def opted_int8() -> tuple[Arrays, dict[str, Any]]:
    return opted(
        "W8A8_SQ_PER_CHANNEL",
        weight=np.zeros((64, 128), np.int8),
        weight_scale=np.zeros(64, np.float32),
        input_scale=np.ones((), np.float32),
        pre_quant_scale=np.ones(128, np.uint16),
    )


def opted_mxfp8() -> tuple[Arrays, dict[str, Any]]:
    return opted(
        "MXFP8",
        weight=np.zeros((64, 128), np.bool_),
        weight_scale=np.full((64, 4), 127, np.uint8),
    )


_MADE = {
    "GPTQ-4bit-g32-actorder": gptq, "AWQ-4bit-g64": awq, "AWQ-4bit-g64-GEMV": gemv,
    "AWQ-4bit-g64-GEMV_FAST": gemv_fast, "AWQ-4bit-g64-Marlin": marlin,
    "W4A16-g64": packed, "W8A8": w8a8, "bnb-NF4": nf4, "bnb-INT8": int8, "ao-W8A16": torchao,
    "AutoRound-4bit-g128": autoround, "AutoRound-4bit-g64": autoround_with_zeros,
    "FP8-dynamic": fp8_rows, "FP8": fp8_tensor, "FP8-block": fp8_blocks, "MXFP8A16": mxfp8,
    "NVFP4A16": nvfp4, "MXFP4": mxfp4, "W8A16": int8_tensor,
    "W3A16-g64": lambda: densely(3), "W6A16-g64": lambda: densely(6), "W3A16-g64 loosely": loosely,
    "bnb-NF4 in bf16": nf4_in_bf16, "bnb-NF4-dq": nf4_twice,
    "FP8-block deepseek": deepseek, "FP8 whole": fp8_whole,
    "ao-FP8A16": ao_float8, "ao-W4A16-g32": ao_intx,
    "AutoRound-NVFP4": autoround_nvfp4, "AutoRound-MXFP8": autoround_mxfp8,
    "ao-NVFP4A16": ao_nvfp4, "ao-MXFP8": ao_mxfp8, "ao-mixed": ao_each,
    "NVFP4-AWQ": opted_awq, "W4AFP8-AWQ": opted_int4, "FP8-block modelopt": opted_blocks,
    "W8A8-SmoothQuant": opted_int8, "mixed": opted_of_32, "MXFP8": opted_mxfp8,
    "AutoRound-FP8": autoround_fp8, "AutoRound-FP8-block": autoround_blocks,
}  # fmt: skip
Maker = Callable[[], tuple[Arrays, dict[str, Any]]]


def _whole(make: Maker) -> Maker:
    def made() -> tuple[Arrays, dict[str, Any]]:
        parts, config = make()
        return scaled(parts), config

    return made


FORMATS: dict[str, Maker] = {label: _whole(make) for label, make in _MADE.items()}


@pytest.mark.parametrize(("label", "make"), FORMATS.items(), ids=FORMATS)
def test_what_is_whole_is_read(tmp_path: Path, label: str, make: Maker) -> None:
    parts, config = make()
    made = checkpoint(tmp_path / "made", around(parts), quantization_config=config)
    found = structure.read(made)
    structure.compare(found, checkpoint(tmp_path / "source", plain()))
    assert found.label == label.split()[0]
    weights = 32 * 128 + 128 + 64 * 128
    stored = sum(array.nbytes for array in around(parts).values())
    assert found.facts["n_weights"] == weights
    assert found.facts["tensor_bytes"] == stored
    assert found.facts["bits_per_weight"] == stored * 8 / weights
    assert found.facts["n_tensors"] == 3


OPTIONAL = ("g_idx", "weight_zero_point", "weight.quant_map", "_weight_qdata", "input_scale",
            "_weight_zero_point", "pre_quant_scale")  # fmt: skip


@pytest.mark.parametrize("make", FORMATS.values(), ids=FORMATS)
def test_each_part_is_checked(tmp_path: Path, make: Maker) -> None:
    """A part that is missing, cut, or of another type: each alone is refused, by name."""
    parts, config = make()
    source = checkpoint(tmp_path / "source", plain())
    for name, array in parts.items():
        if name in OPTIONAL:
            continue  # may be absent, or without it nothing says that the module is packed
        others = {other: kept for other, kept in parts.items() if other != name}
        wrong_type = array.astype(np.int32 if array.dtype == np.int64 else np.int64)
        for wrong in (None, np.atleast_1d(array)[:-1], wrong_type):
            changed = others if wrong is None else {**others, name: wrong}
            made = checkpoint(tmp_path / "made", around(changed), quantization_config=config)
            with pytest.raises(CheckpointError, match=r"up_proj|no module is packed"):
                structure.compare(structure.read(made), source)


@pytest.mark.parametrize(
    ("make", "scale"),
    [(fp8_rows, "weight_scale"), (w8a8, "weight_scale"), (opted_awq, "weight_scale"),
     (deepseek, "weight_scale_inv"), (int8, "SCB"),
     (nf4, "weight.quant_state.bitsandbytes__nf4")],
)  # fmt: skip
def test_one_matrix_of_many_without_scales_is_noticed(
    tmp_path: Path, make: Maker, scale: str
) -> None:
    parts, config = make()
    second = {f"model.layers.1.mlp.up_proj.{name}": array for name, array in parts.items()}
    structure.read(checkpoint(tmp_path, around(parts) | second, quantization_config=config))
    del second[f"model.layers.1.mlp.up_proj.{scale}"]
    made = checkpoint(tmp_path, around(parts) | second, quantization_config=config)
    with pytest.raises(CheckpointError, match=r"layers\.1\.mlp\.up_proj\.weight.* not packed by"):
        structure.read(made)


def test_a_wrong_group_size_is_noticed(tmp_path: Path) -> None:
    parts, config = gptq()
    made = checkpoint(tmp_path, around(parts), quantization_config={**config, "group_size": 64})
    words = "scales' is [4, 64], and a matrix of 64 × 128 in 4 bits and groups of 64 needs [2, 64]"
    with pytest.raises(CheckpointError, match=re.escape(words)):
        structure.read(made)


def test_bits_in_planes_are_counted_and_not_read(tmp_path: Path) -> None:
    """GPTQModel's layout gptq_p: read as the others it would be noise."""
    parts, config = gptq()
    planes = {**config, "checkpoint_format": "gptq_p"}
    made = checkpoint(tmp_path, around(scaled(parts)), quantization_config=planes)
    contents = structure.read(made)
    assert contents.label == "GPTQ-4bit-g32-actorder-planes"
    (module,) = contents.modules.values()
    assert reader(module, contents.tensors, planes) is None
    with pytest.raises(CheckpointError, match="in a way that qpipe does not dequantize"):
        source.opened(made)


def test_integers_in_a_byte_each_have_the_bits_of_the_group_with_their_size(
    tmp_path: Path,
) -> None:
    parts, config = w8a8()
    two = {"group_0": group(8, None, True), "group_1": group(4, 32, True)}
    config = {**config, "config_groups": two}
    second = {
        "model.layers.1.mlp.up_proj.weight": parts["weight"],
        "model.layers.1.mlp.up_proj.weight_scale": np.ones((64, 4), np.uint16),
    }
    made = checkpoint(tmp_path, around(parts) | second, quantization_config=config)
    modules = structure.read(made).modules
    assert [(m.type, m.bits, m.group_size) for m in modules.values()] == [
        ("INT8", 8, -1), ("INT4-g32", 4, 32),
    ]  # fmt: skip


def test_rules_of_gptqmodel_are_followed(tmp_path: Path) -> None:
    parts, config = gptq()
    rule = {r"+:^model\.layers\.0\.mlp\.up_proj$": {"group_size": 32}}
    config = {**config, "group_size": 128, "dynamic": rule}
    made = checkpoint(tmp_path, around(parts), quantization_config=config)
    found = structure.read(made)
    (module,) = found.modules.values()
    assert module.type == "GPTQ-4bit-g32"
    assert found.label == "GPTQ-4bit-g128-actorder-mixed"
    alike = {"+:^lm_head$": {"bits": 4, "group_size": 32}, "-:k_proj": {}}
    parts, config = gptq()
    made = checkpoint(tmp_path, around(parts), quantization_config={**config, "dynamic": alike})
    assert structure.read(made).label == "GPTQ-4bit-g32-actorder"


def test_rules_that_python_would_not_finish_matching(tmp_path: Path) -> None:
    """Each way to split the name tried after the other is more of them than there is time."""
    parts, config = gptq()
    rules = {r"+:(([a-z_.0-9]+)+)+-": {"group_size": 64}, r"+:model": {"group_size": 32}}
    made = checkpoint(
        tmp_path, around(parts), quantization_config={**config, "group_size": 128, "dynamic": rules}
    )
    assert [m.group_size for m in structure.read(made).modules.values()] == [32]
    for rule in (r"+:(a", r"+:(model)\1"):
        config = {**config, "dynamic": {rule: {"bits": 4}}}
        made = checkpoint(tmp_path, around(parts), quantization_config=config)
        with pytest.raises(CheckpointError, match=r"field 'dynamic' has .*, no usable regular exp"):
            structure.read(made)


@pytest.mark.parametrize(("bits", "rows", "columns"), [(4, 63, 128), (8, 105, 128), (4, 64, 172)])
def test_last_words_may_be_filled_up(tmp_path: Path, bits: int, rows: int, columns: int) -> None:
    """As GPTQModel does where rows or columns in so many bits fill no whole words of 32."""
    parts: Arrays = {
        "qweight": np.zeros((-(-columns * bits // 32), rows), np.int32),
        "qzeros": np.zeros((1, -(-rows * bits // 32)), np.int32),
        "scales": np.zeros((1, rows), np.float16),
        "g_idx": np.zeros(columns, np.int32),
    }
    config = {"quant_method": "gptq", "bits": bits, "group_size": -1}
    made = checkpoint(tmp_path, around(parts), quantization_config=config)
    (module,) = structure.read(made).modules.values()
    assert module.shape == (rows, columns)
    short = {**parts, "qweight": parts["qweight"][:-1]}
    made = checkpoint(tmp_path, around(short), quantization_config=config)
    with pytest.raises(CheckpointError, match="words of 32 bits are not what"):
        structure.read(made)


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
    with pytest.raises(
        CheckpointError, match=r"config\.json: field 'quantization_config\.bits' is mis"
    ):
        structure.read(made)


def test_a_plain_checkpoint_is_called_by_its_precision(tmp_path: Path) -> None:
    assert structure.read(checkpoint(tmp_path, plain())).label == "FP16"


def mlx(**more: Any) -> tuple[Arrays, dict[str, Any]]:
    parts = {
        "weight": np.zeros((64, 128 * 6 // 32), np.uint32),
        "scales": np.zeros((64, 4), np.uint16),
        "biases": np.zeros((64, 4), np.uint16),
    }
    return parts, {"group_size": 32, "bits": 6, **more}


def test_mlx_is_named_by_what_it_writes(tmp_path: Path) -> None:
    """mlx-lm gives no quant_method; newer versions write the same under two names."""
    parts, said = mlx()
    source = checkpoint(tmp_path / "source", plain())
    own = {"model.layers.0.mlp.up_proj": {"bits": 6, "group_size": 32}}
    mixed = {"group_size": 64, "bits": 4, "mode": "affine", **own, "lm_head": False}
    for config in ({"quantization": said}, {"quantization": said, "quantization_config": said},
                   {"quantization": mixed}):  # fmt: skip
        found = structure.read(checkpoint(tmp_path / "made", around(parts), **config))
        structure.compare(found, source)
        (module,) = found.modules.values()
        assert (module.type, found.label[:4]) == ("MLX-6bit-g32", "MLX-")
        assert found.packed_bytes(module) * 8 / (64 * 128) == 6 + 2 * 16 / 32


def test_settings_in_other_places_are_found(tmp_path: Path) -> None:
    """compression_config, a text model inside another, and the files of AutoGPTQ and AutoAWQ."""
    parts, config = packed()
    for fields in (
        {"compression_config": config},
        {"text_config": {"quantization_config": config}},
    ):
        assert structure.read(checkpoint(tmp_path, around(parts), **fields)).label == "W4A16-g64"
    sparse = {**config, "quant_method": "sparseml"}
    made = checkpoint(tmp_path, around(parts), quantization_config=sparse)
    assert structure.read(made).label == "W4A16-g64"

    parts, config = gptq()
    del config["quant_method"]
    checkpoint(tmp_path, around(parts))
    (tmp_path / "quantize_config.json").write_text(json.dumps(config))
    assert structure.read(tmp_path).label == "GPTQ-4bit-g32-actorder"
    # What a tool left lying beside a checkpoint that is not packed says nothing of it.
    assert structure.read(checkpoint(tmp_path, plain())).label == "FP16"
    (tmp_path / "quantize_config.json").unlink()
    parts, _ = awq()
    checkpoint(tmp_path, around(parts))
    old = {"zero_point": True, "q_group_size": 64, "w_bit": 4, "version": "GEMM"}
    (tmp_path / "quant_config.json").write_text(json.dumps(old))
    assert structure.read(tmp_path).label == "AWQ-4bit-g64"


@pytest.mark.parametrize("make", FORMATS.values(), ids=FORMATS)
def test_packed_tensors_that_nothing_speaks_of_are_no_plain_weights(
    tmp_path: Path, make: Maker
) -> None:
    made = checkpoint(tmp_path, around(make()[0]))
    with pytest.raises(CheckpointError, match="quantized by a method that it does not name"):
        structure.read(made)
    (tmp_path / "hf_quant_config.json").write_text(json.dumps({"quantization": {}}))
    with pytest.raises(CheckpointError, match=r"field 'quantization\.quant_algo' is missing"):
        structure.read(made)


@pytest.mark.parametrize(
    "said",
    [
        {"kv_cache_scheme": {"dynamic": False, "num_bits": 8, "type": "float"}},
        {"kv_cache_quant_algo": "FP8"},
        {"kv_cache_scheme": "fp8"},
    ],
)
def test_modelopts_cache_is_named(tmp_path: Path, said: dict[str, Any]) -> None:
    parts, config = opted_blocks()
    cache = {"model.layers.0.self_attn.k_proj.k_scale": np.ones((), np.float32)}
    made = checkpoint(tmp_path, around(parts) | cache, quantization_config={**config, **said})
    assert structure.read(made).label == "FP8-block-KV-FP8"


@pytest.mark.parametrize("stored", ["weight._data", "weight._data._data"])
def test_optimum_quantos_own_way_is_named(tmp_path: Path, stored: str) -> None:
    """optimum-quanto 0.2.7's save_pretrained, of 8 bits and of fewer: nothing in config.json."""
    scale = np.ones((64, 1), np.float32)
    parts: Arrays = {stored: np.zeros((64, 128), np.int8), "weight._scale": scale}
    made = checkpoint(tmp_path, around(parts))
    qmap = {"model.layers.0.mlp.up_proj": {"weights": "qint8", "activations": "none"}}
    (tmp_path / "quanto_qmap.json").write_text(json.dumps(qmap))
    seen = inspect(made)
    assert seen["quantization"] == {"method": "quanto", "unread": "by the method 'quanto'"}
    assert seen["bits_per_weight"] is None
    with pytest.raises(CheckpointError, match="quantized by the method 'quanto', which qpipe does"):
        structure.read(made)


def test_a_quantized_cache_alone_is_no_damage(tmp_path: Path) -> None:
    scales = {f"model.layers.0.self_attn.{name}_scale": np.zeros(1, np.uint16) for name in "kv"}
    cache = {"num_bits": 8, "type": "float", "strategy": "tensor", "dynamic": False}
    config = {"quant_method": "compressed-tensors", "format": "dense", "config_groups": {},
              "kv_cache_scheme": cache}  # fmt: skip
    made = checkpoint(tmp_path / "made", {**plain(), **scales}, quantization_config=config)
    found = structure.read(made)
    structure.compare(found, checkpoint(tmp_path / "source", plain()))
    assert (found.label, dict(found.modules)) == ("FP16-KV-FP8", {})
    assert found.facts["n_weights"] == 32 * 128 + 128 + 64 * 128
    parts, both = nvfp4()
    both = {**both, "kv_cache_scheme": cache}
    made = checkpoint(tmp_path / "made", {**around(parts), **scales}, quantization_config=both)
    assert structure.read(made).label == "NVFP4A16-KV-FP8"


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({**packed()[1], "format": "marlin-24"}, "by compressed-tensors in the format marlin-24"),
        ({**awq()[1], "version": "llm-awq"}, "by awq in the version llm-awq"),
        ({**gptq()[1], "checkpoint_format": "marlin"}, "by gptq in the layout marlin"),
        ({**gptq()[1], "is_marlin_format": True}, "by gptq in the layout marlin"),
        ({**gptq()[1], "format": "bitblas"}, "by gptq in the layout bitblas"),
        (ao("Int4WeightOnlyConfig"), "by torchao in the scheme Int4WeightOnlyConfig"),
        ({"quant_method": "torchao", "quant_type": "int8_weight_only"},
         "by torchao in the scheme int8_weight_only"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "af4"},
         "by bitsandbytes in the type af4"),
        (rounded({}, bits=4, data_type="gguf")[1], "by auto-round in the data type gguf"),
        ({"quant_method": "hqq"}, "by the method 'hqq'"),
        ({"some": "words"}, "by a method that it does not name"),
    ],
)  # fmt: skip
def test_what_is_not_read_is_no_damage(tmp_path: Path, config: Any, words: str) -> None:
    made = checkpoint(tmp_path, plain(), quantization_config=config)
    with pytest.raises(CheckpointError, match=f"quantized {words}, which qpipe does not read"):
        structure.read(made)


def test_a_state_that_is_too_long_is_not_read(tmp_path: Path) -> None:
    """Once gigabytes were read of a tensor that holds a line of JSON."""
    parts, config = nf4()
    parts["weight.quant_state.bitsandbytes__nf4"] = np.zeros((1 << 20) + 1, np.uint8)
    made = checkpoint(tmp_path, around(parts), quantization_config=config)
    with pytest.raises(CheckpointError, match="has 1,048,577 bytes, which should be a few hundred"):
        structure.read(made)


EDGES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 1 << 31, 10**30, -(1 << 63), 0.5, float("inf"), float("nan")),
    *("", "a", "\ud800", "${x}"),
    *([], [1], [[]], {}, {"x": 1}, {"_type": 5}, {"default": []}),
)


@pytest.mark.parametrize("label", [*FORMATS, "MLX"])
def test_values_of_any_kind_are_answered_in_words(tmp_path: Path, label: str) -> None:
    """Each field of the settings, at any depth, as JSON of every kind; and the same in config.json:
    read, or a CheckpointError."""
    parts, config = mlx(mode="affine") if label == "MLX" else FORMATS[label]()
    checkpoint(tmp_path, around(parts))
    for place in ("quantization_config", "architectures", "tie_word_embeddings"):
        base = {"architectures": ["LlamaForCausalLM"], "quantization_config": config}
        for changed in _changes(base, place):
            (tmp_path / "config.json").write_text(json.dumps(changed))
            for use in (structure.read, inspect):
                try:
                    use(tmp_path)
                except CheckpointError as error:
                    assert str(tmp_path) in str(error)


def _changes(base: dict[str, Any], place: str) -> Iterator[dict[str, Any]]:
    for edge in EDGES:
        yield {**base, place: edge}
    inside = base.get(place)
    if isinstance(inside, dict):
        for name in inside:
            for changed in _changes(inside, name):
                yield {**base, place: changed}
        yield {**base, place: {}}


def test_gpt_oss_experts_are_read(tmp_path: Path) -> None:
    """4 experts of 6 rows and 64 columns: half a byte each, and a byte for each 32."""
    name = "model.layers.0.mlp.experts.gate_up_proj"
    parts = {f"{name}_blocks": np.zeros((4, 6, 2, 16), np.uint8),
             f"{name}_scales": np.zeros((4, 6, 2), np.uint8)}  # fmt: skip
    config = {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}
    found = structure.read(checkpoint(tmp_path, {**plain(), **parts}, quantization_config=config))
    (module,) = found.modules.values()
    assert (found.label, module.shape) == ("MXFP4", (4, 6, 64))
    assert found.packed_bytes(module) * 8 / (4 * 6 * 64) == 4.25
    for changed in (parts[f"{name}_scales"][:3], parts[f"{name}_scales"].astype(np.int8)):
        made = {**plain(), **parts, f"{name}_scales": changed}
        with pytest.raises(CheckpointError, match="gate_up_proj_"):
            structure.read(checkpoint(tmp_path, made, quantization_config=config))


def test_weights_that_a_tool_adds_are_not_counted(tmp_path: Path) -> None:
    """AutoGPTQ 0.7.1: a copy of the tied output matrix, and biases of zeros."""
    from safetensors.numpy import save_file

    arrays, quantization = gptq()
    layer = {f"model.layers.0.mlp.up_proj.{name}": array for name, array in arrays.items()}
    embeddings = np.ones((100, 128), np.float16)
    plain = {"model.embed_tokens.weight": embeddings, "lm_head.weight": embeddings}
    bias = {"model.layers.0.mlp.up_proj.bias": np.zeros(64, np.float16)}
    config = {"architectures": ["LlamaForCausalLM"], "quantization_config": quantization}
    own = 64 * 128 + 100 * 128
    for tied, values, weights in (
        (True, 0.0, own), (True, 0.5, own + 64), (False, 0.0, own + 100 * 128)
    ):  # fmt: skip
        bias["model.layers.0.mlp.up_proj.bias"][:] = values
        save_file({**layer, **plain, **bias}, tmp_path / "model.safetensors")
        text = json.dumps({**config, "tie_word_embeddings": tied})
        (tmp_path / "config.json").write_text(text)
        facts = structure.read(tmp_path).facts
        assert facts["n_weights"] == weights
        assert facts["bits_per_weight"] == facts["tensor_bytes"] * 8 / weights
