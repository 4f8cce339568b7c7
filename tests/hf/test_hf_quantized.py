"""Quantized checkpoints of a tiny model, written by hand: the logits are those of the weights that
the numbers stand for, and nothing may be missing or left over."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qpipe.errors import CheckpointError, EngineMissingError, QpipeError
from qpipe.hf.backend import TransformersBackend
from qpipe.hf.load import load
from qpipe.hf.precision import plain as plainly
from qpipe.hf.quantized import read_settings

torch = pytest.importorskip("torch")

NAMES = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
         "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")  # fmt: skip
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64,
    "intermediate_size": 128, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 2, "vocab_size": 96, "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5, "tie_word_embeddings": False, "dtype": "bfloat16",
    "hidden_act": "silu", "torch_dtype": "bfloat16",
}  # fmt: skip
TOKENS = [[1, 5, 9, 17, 33, 65, 2, 40]]
# The numbers of four bits that FP4 has (E2M1), by code; the fourth bit is the sign.
FP4 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)

Tensors = dict[str, Any]
# What a matrix becomes: the tensors that stand for it, and what they stand for.
Packing = Callable[[Any], tuple[Tensors, Any]]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def plain() -> Tensors:
    draw = torch.Generator().manual_seed(0)
    shapes = {"model.embed_tokens.weight": (96, 64), "lm_head.weight": (96, 64)}
    for name in NAMES:
        rows = 128 if name in ("mlp.gate_proj", "mlp.up_proj") else 64
        shapes[f"model.layers.0.{name}.weight"] = (rows, 128 if "down" in name else 64)
    found = {name: torch.randn(shape, generator=draw) / 4 for name, shape in shapes.items()}
    for name in ("input_layernorm", "post_attention_layernorm"):
        found[f"model.layers.0.{name}.weight"] = torch.ones(64)
    found["model.norm.weight"] = torch.ones(64)
    return {name: value.to(torch.bfloat16) for name, value in found.items()}


def write(folder: Path, tensors: Tensors, **config: Any) -> Path:
    from safetensors.torch import save_file

    folder.mkdir(exist_ok=True)
    whole = {name: value.contiguous() for name, value in tensors.items()}
    save_file(whole, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps({**CONFIG, **config}))
    return folder


def packed(pack: Packing) -> tuple[Tensors, Tensors]:
    """The tensors of the model with packed matrices, and with what those stand for in float32."""
    stored, meant = {}, {}
    for name, value in plain().items():
        if "_proj" not in name:
            stored[name], meant[name] = value, value.float()
            continue
        parts, meant[name] = pack(value.float())
        stored |= {f"{name.removesuffix('.weight')}.{part}": t for part, t in parts.items()}
    return stored, meant


def grouped(matrix: Any, size: int) -> Any:
    return matrix.reshape(matrix.shape[0], -1, size)


def integers(bits: int, size: int) -> Packing:
    """compressed-tensors' pack-quantized: values + half, bit after bit."""

    def pack(matrix: Any) -> tuple[Tensors, Any]:
        half = 1 << (bits - 1)
        groups = grouped(matrix, size)
        scale = (groups.abs().amax(-1, keepdim=True) / (half - 0.5)).to(torch.bfloat16).float()
        values = (groups / scale).round().clamp(-half, half - 1)
        codes = (values + half).to(torch.int64).reshape(matrix.shape)
        spread = (codes[:, :, None] >> torch.arange(bits)) & 1
        words = spread.reshape(matrix.shape[0], -1, 32) << torch.arange(32)
        return {
            "weight_packed": words.sum(-1).to(torch.int32),
            "weight_scale": scale[:, :, 0].to(torch.bfloat16),
            "weight_shape": torch.tensor(matrix.shape),
        }, (values * scale).reshape(matrix.shape)

    return pack


def int8(matrix: Any) -> tuple[Tensors, Any]:
    scale = (matrix.abs().amax(-1, keepdim=True) / 127).to(torch.bfloat16)
    values = (matrix / scale.float()).round().clamp(-128, 127)
    return {"weight": values.to(torch.int8), "weight_scale": scale}, values * scale.float()


def floats(high: int, wide: int, name: str = "weight_scale", dtype: Any = None) -> Packing:
    """FP8 with a scale for each block of ``high`` × ``wide``; 0: all of them."""

    def pack(matrix: Any) -> tuple[Tensors, Any]:
        rows, columns = matrix.shape
        h, w = high or rows, wide or columns
        blocks = matrix.reshape(rows // h, h, columns // w, w)
        scale = (blocks.abs().amax((1, 3)) / 448).to(dtype or torch.bfloat16)
        spread = scale.float()[:, None, :, None]
        codes = (blocks / spread).to(torch.float8_e4m3fn)
        shared = scale if high else scale.reshape(1)
        meant = (codes.float() * spread).reshape(rows, columns)
        return {"weight": codes.reshape(rows, columns), name: shared}, meant

    return pack


def mxfp8(matrix: Any) -> tuple[Tensors, Any]:
    groups = grouped(matrix, 32)
    power = torch.floor(torch.log2(groups.abs().amax(-1, keepdim=True))) - 8
    codes = (groups / 2**power).clamp(-448, 448).to(torch.float8_e4m3fn)
    scale = (power[:, :, 0] + 127).to(torch.uint8)
    meant = (codes.float() * 2**power).reshape(matrix.shape)
    return {"weight": codes.reshape(matrix.shape), "weight_scale": scale}, meant


def nibbles(matrix: Any, scale: Any, size: int) -> tuple[Any, Any]:
    """The nearest numbers of four bits, two a byte, the first one low; and what they are."""
    table = torch.tensor(FP4)
    values = grouped(matrix, size) / scale[:, :, None]
    code = (values.abs()[..., None] - table).abs().argmin(-1)
    signs = (values < 0).to(torch.int64)
    meant = (table[code] * (1 - 2 * signs) * scale[:, :, None]).reshape(matrix.shape)
    both = (code + 8 * signs).reshape(matrix.shape[0], -1, 2)
    return (both[:, :, 0] + 16 * both[:, :, 1]).to(torch.uint8), meant


def nvfp4(matrix: Any) -> tuple[Tensors, Any]:
    whole = torch.tensor([448 * 6 / matrix.abs().max()], dtype=torch.float32)
    scale = (grouped(matrix, 16).abs().amax(-1) / 6 * whole).to(torch.float8_e4m3fn)
    codes, meant = nibbles(matrix, scale.float() / whole, 16)
    return {"weight_packed": codes, "weight_scale": scale, "weight_global_scale": whole}, meant


def mxfp4(matrix: Any) -> tuple[Tensors, Any]:
    power = torch.floor(torch.log2(grouped(matrix, 32).abs().amax(-1))) - 2
    codes, meant = nibbles(matrix, 2**power, 32)
    return {"weight_packed": codes, "weight_scale": (power + 127).to(torch.uint8)}, meant


def ct(form: str, kind: str, bits: int, strategy: str, **more: Any) -> dict[str, Any]:
    weights = {"type": kind, "num_bits": bits, "strategy": strategy, "symmetric": True, **more}
    group = {"targets": ["Linear"], "weights": weights, "format": form}
    return {
        "quant_method": "compressed-tensors", "format": form, "ignore": ["lm_head"],
        "quantization_status": "compressed", "config_groups": {"group_0": group},
    }  # fmt: skip


MICRO = {"group_size": 32, "scale_dtype": "torch.uint8"}
FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic", "fmt": "e4m3"}
FORMATS: dict[str, tuple[Packing, dict[str, Any]]] = {
    "W4A16": (integers(4, 32), ct("pack-quantized", "int", 4, "group", group_size=32)),
    "W3A16": (integers(3, 32), ct("pack-quantized", "int", 3, "group", group_size=32)),
    "W6A16": (integers(6, 64), ct("pack-quantized", "int", 6, "group", group_size=64)),
    "W8A16": (int8, ct("int-quantized", "int", 8, "channel")),
    "FP8 rows": (floats(1, 0), ct("float-quantized", "float", 8, "channel")),
    "FP8 tensor": (floats(0, 0), ct("float-quantized", "float", 8, "tensor")),
    "FP8 blocks": (
        floats(32, 32),
        ct("float-quantized", "float", 8, "block", block_structure=[32, 32]),
    ),
    "MXFP8": (mxfp8, ct("mxfp8-quantized", "float", 8, "group", **MICRO)),
    "MXFP4": (mxfp4, ct("mxfp4-pack-quantized", "float", 4, "group", **MICRO)),
    "NVFP4": (nvfp4, ct("nvfp4-pack-quantized", "float", 4, "tensor_group", group_size=16)),
    "fp8 blocks": (
        floats(32, 32, "weight_scale_inv", torch.float32), {**FP8, "weight_block_size": [32, 32]},
    ),
    "fp8 tensor": (
        floats(0, 0, "weight_scale_inv", torch.float32), {**FP8, "weight_block_size": None},
    ),
    "auto-round blocks": (
        floats(32, 32, "weight_scale_inv", torch.float32),
        {
            "quant_method": "auto-round", "packing_format": "auto_round:fp8", "bits": 8,
            "data_type": "fp", "group_size": [32, 32], "weight_block_size": [32, 32],
            "activation_scheme": "dynamic",
        },
    ),
}  # fmt: skip
each = pytest.mark.parametrize("name", FORMATS)


def logits(folder: Path) -> tuple[Any, str]:
    loaded = load(folder)
    with torch.inference_mode():
        return loaded.model(input_ids=torch.tensor(TOKENS)).logits.float(), loaded.dtype


@each
def test_logits_are_those_of_what_the_numbers_stand_for(tmp_path: Path, name: str) -> None:
    pack, config = FORMATS[name]
    stored, meant = packed(pack)
    theirs, dtype = logits(write(tmp_path / "packed", stored, quantization_config=config))
    ours, _ = logits(write(tmp_path / "plain", meant, dtype="float32"))
    micro = name in ("MXFP8", "MXFP4", "NVFP4")
    assert dtype == ("bfloat16" if micro else "float32")
    backend = TransformersBackend(tmp_path / "packed", threads=1)
    (remark,) = backend.remarks or ("",)
    assert ("compressed-tensors was computed in bfloat16 on a cpu" in remark) == micro
    # The weights themselves are the same: in bfloat16 it is the activations that are rounded.
    assert (theirs - ours).abs().max() < (0.08 if micro else 2e-5)
    assert ours.std() > 0.5


@each
def test_what_is_missing_or_left_over_is_refused(tmp_path: Path, name: str) -> None:
    """Each of a matrix's parts, and scales that nothing reads."""
    pack, config = FORMATS[name]
    stored, _ = packed(pack)
    module = "model.layers.0.mlp.up_proj"
    for part in [key for key in stored if key.startswith(module)]:
        others = {key: value for key, value in stored.items() if key != part}
        with pytest.raises(CheckpointError, match=r"lacks 1 weights|cannot load this checkpoint"):
            load(write(tmp_path, others, quantization_config=config))
    more = {**stored, f"{module}.scales_of_another_tool": torch.ones(4)}
    with pytest.raises(CheckpointError, match=r"has 1 tensors .* no place for .*another_tool"):
        load(write(tmp_path, more, quantization_config=config))


@pytest.mark.parametrize("name", ["W4A16", "W8A16", "FP8 rows"])
def test_settings_in_an_older_place_are_followed(tmp_path: Path, name: str) -> None:
    """transformers 5.17 passes over compression_config: random weights for W4A16, and for W8A16
    integers taken for weights without a word."""
    pack, config = FORMATS[name]
    stored, meant = packed(pack)
    theirs, _ = logits(write(tmp_path / "packed", stored, compression_config=config))
    ours, _ = logits(write(tmp_path / "plain", meant, dtype="float32"))
    assert (theirs - ours).abs().max() < 2e-5


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (
            {"quant_method": "modelopt", "quant_algo": "FP8"},
            r"is quantized \(modelopt, 8 bits\), which tra",
        ),
        ({"quant_method": "exl2", "bits": 4.0}, r"is quantized \(exl2, 4.0 bits\)"),
        ({"group_size": 64, "bits": 4}, r"is quantized \(mlx, 4 bits\)"),
        ({"some": "words"}, r"is quantized \(by a method that it does not name\)"),
        (
            {"quant_method": "hqq", "quant_config": {}},
            r"is quantized \(hqq\), which transformers \S+ makes and does not read",
        ),
    ],
)
def test_what_transformers_does_not_compute_is_refused(
    tmp_path: Path, config: dict[str, Any], words: str
) -> None:
    """It would compute the model as if it were not quantized."""
    stored, _ = packed(floats(1, 0))
    with pytest.raises(QpipeError, match=words):
        load(write(tmp_path, stored, quantization_config=config))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"format": "nvfp6-pack-quantized", "version": "0.31.0"},
            r"format is 'nvfp6-pack-quantized' \(written by 0.31.0\), which compressed-tensors \d"
            r"\S+, the one that is installed, does not read; install a newer one: pip install -U",
        ),
        ({"format": "marlin-24"}, "'marlin-24', which .* no version of today reads it: give the"),
        (
            {"sparsity_config": {"format": "sparse-24-bitmask"}},
            "sparsity_config.format is 'sparse-24-bitmask', which .* no version of today",
        ),
        (
            {
                "config_groups": {
                    "group_0": {"targets": ["Linear"], "weights": {"strategy": "star"}}
                }
            },
            "config_groups.group_0.weights.strategy is 'star', which compressed-tensors .* newer",
        ),
        (
            {"quant_method": "torchao", "quant_type": {"default": {"_type": "Int3FancyConfig"}}},
            r"'Int3FancyConfig', which torchao \d\S+, .* install a newer one: .* -U torchao",
        ),
    ],
)
def test_a_scheme_that_the_installed_version_does_not_have_is_named(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    pack, config = FORMATS["FP8 rows"]
    folder = write(tmp_path, packed(pack)[0], quantization_config={**config, **changes})
    with pytest.raises(EngineMissingError, match=words):
        load(folder)


def test_biases_of_zeros_are_no_weights_left_over(tmp_path: Path) -> None:
    """GPTQ's first tools stored one for every matrix."""
    bias = "model.layers.0.mlp.up_proj.bias"
    load(write(tmp_path, {**plain(), bias: torch.zeros(128)}))
    with pytest.raises(CheckpointError, match=f"no place for \\({bias}\\)"):
        load(write(tmp_path, {**plain(), bias: torch.ones(128)}))


@pytest.mark.parametrize(
    ("scheme", "dtype"),
    [("Int8WeightOnlyConfig", "float32"), ("Float8WeightOnlyConfig", "auto"),
     ("IntxWeightOnlyConfig", "auto"), ("Int8DynamicActivationIntxWeightConfig", "auto")],
)  # fmt: skip
def test_torchaos_tensors_that_have_a_precision_keep_it(scheme: str, dtype: str) -> None:
    config = {"quant_method": "torchao", "quant_type": {"default": {"_type": scheme}}}
    said = read_settings(Path("m"), {"quantization_config": config})
    assert said is not None and plainly(said) == dtype


@pytest.mark.slow
def test_torchaos_floats_and_small_integers_are_computed(tmp_path: Path) -> None:
    torchao = pytest.importorskip("torchao.quantization")
    from transformers import AutoModelForCausalLM, TorchAoConfig

    source = write(tmp_path / "source", plain())
    schemes = [
        torchao.Float8WeightOnlyConfig(),
        torchao.IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=torchao.PerGroup(32)),
    ]
    for number, scheme in enumerate(schemes):
        config: Any = TorchAoConfig(scheme)
        model = AutoModelForCausalLM.from_pretrained(
            source, quantization_config=config, device_map={"": "cpu"}, dtype="auto"
        )
        model.save_pretrained(tmp_path / f"ao{number}")
        theirs, dtype = logits(tmp_path / f"ao{number}")
        meant = {name: _meant(value).float() for name, value in model.state_dict().items()}
        ours, _ = logits(write(tmp_path / f"plain{number}", meant, dtype="float32"))
        assert dtype == "bfloat16"
        assert (theirs - ours).abs().max() < 0.15


def _meant(value: Any) -> Any:
    return value.dequantize() if type(value) is not torch.Tensor else value
