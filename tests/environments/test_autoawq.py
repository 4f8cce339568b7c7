"""AutoAWQ for real: its environment from the lock, one layer quantized there, checked here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from safetensors import numpy as files

from tests.cli import Answer, by_stage, qpipe

MODEL = Path(__file__).parents[2] / "qpipe" / "data" / "tinystories-d256"
# AutoAWQ's order of the eight values of a word (awq/utils/packing_utils.py).
ORDER = (0, 4, 1, 5, 2, 6, 3, 7)
THETA = 70_000.0

Matrix = npt.NDArray[np.float32]


def one_layer(folder: Path) -> Path:
    """The first layer of the shipped model, with a rotary base that is nobody's default."""
    import torch
    from safetensors.torch import load_file, save_file

    tensors = load_file(MODEL / "model.safetensors")
    kept = {k: v for k, v in tensors.items() if ".layers." not in k or ".layers.0." in k}
    folder.mkdir()
    assert all(tensor.dtype == torch.bfloat16 for tensor in kept.values())
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((MODEL / "config.json").read_text())
    config["num_hidden_layers"] = 1
    config["rope_parameters"]["rope_theta"] = THETA
    (folder / "config.json").write_text(json.dumps(config))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((MODEL / name).read_bytes())
    return folder


def nibbles(packed: npt.NDArray[np.int32]) -> Matrix:
    values = [(packed >> (4 * place)) & 15 for place in ORDER]
    return np.stack(values, axis=-1).reshape(len(packed), -1).astype(np.float32)


def unpacked(tensors: dict[str, npt.NDArray[np.generic]], name: str) -> Matrix:
    """The weights of a module, (rows, columns)."""
    scales = tensors[f"{name}.scales"].astype(np.float32)
    levels, zeros = (
        nibbles(tensors[f"{name}.{s}"].astype(np.int32)) for s in ("qweight", "qzeros")
    )
    size = len(levels) // len(scales)
    return ((levels - zeros.repeat(size, axis=0)) * scales.repeat(size, axis=0)).T


def rounded(weights: Matrix) -> Matrix:
    """To the nearest of 16 levels between the least and the greatest of each 128 of a row."""
    blocks = weights.reshape(len(weights), -1, 128)
    least, greatest = blocks.min(axis=-1, keepdims=True), blocks.max(axis=-1, keepdims=True)
    scale = (greatest - least) / 15
    zero = np.round(-least / scale)
    levels = np.clip(np.round(blocks / scale) + zero, 0, 15)
    nearest: Matrix = ((levels - zero) * scale).reshape(weights.shape)
    return nearest


def run(folder: Path, engines: Path, *overrides: str) -> Answer:
    return qpipe(
        "run", "local", f"model.source={folder / 'model'}", "quantize=awq",
        "quantize.engine=autoawq", "evaluate=none", "calibration.samples=4",
        "calibration.length=48", *overrides, "--json", cwd=folder,
        env={"QPIPE_ENGINES": str(engines), "HF_HUB_OFFLINE": "1"}, timeout=600,
    )  # fmt: skip


@pytest.mark.slow
def test_from_the_lock_to_a_model(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    source = one_layer(tmp_path / "model")
    engines = tmp_path / "engines"
    installed = qpipe(
        "engines", "install", "autoawq", cwd=tmp_path, env={"QPIPE_ENGINES": str(engines)}
    )
    assert installed.code == 0, installed.stderr
    answer = run(tmp_path, engines)
    assert answer.code == 0, answer.stderr
    node = by_stage(json.loads(answer.stdout)["nodes"])["quantize"]
    artifact = Path(node["artifact"])
    facts = json.loads((artifact / "manifest.json").read_text())["facts"]
    assert facts["format"] == "AWQ-4bit-g128"
    assert facts["calibration_tokens"] == facts["calibration_tokens_given"] == 4 * 48
    assert facts["tools"]["transformers"] == "4.51.3"
    config = json.loads((artifact / "config.json").read_text())
    assert config["rope_parameters"]["rope_theta"] == THETA
    assert config["quantization_config"]["quant_method"] == "awq"

    # AWQ moves a scale from each norm into the columns behind it: with that undone the weights are
    # the original's but for one rounding to the nearest. A search that keeps no copy of the weights
    # rounds them again with every scale that it tries, and loses a tenth more.
    found = files.load_file(artifact / "model.safetensors")
    original = {k: v.float().numpy() for k, v in load_file(source / "model.safetensors").items()}
    for norm, modules in {
        "input_layernorm": ("self_attn.q_proj", "self_attn.k_proj"),
        "post_attention_layernorm": ("mlp.gate_proj",),
    }.items():
        key = f"model.layers.0.{norm}.weight"
        moved = found[key].astype(np.float32) / original[key]
        for module in modules:
            name = f"model.layers.0.{module}"
            weights = original[f"{name}.weight"]
            error = np.linalg.norm(unpacked(found, name) * moved - weights)
            least = np.linalg.norm(rounded(weights / moved) * moved - weights)
            assert error < 1.01 * least, name
