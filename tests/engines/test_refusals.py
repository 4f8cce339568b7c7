"""What an architecture, shapes or settings decide is refused from headers, before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from qpipe.engines.autoawq import AutoAwq, AutoAwqParams
from qpipe.engines.autoround import Autoround, AutoroundParams
from qpipe.engines.bitsandbytes import Bitsandbytes, BitsandbytesParams
from qpipe.engines.common.module_rules import ModuleRule
from qpipe.engines.llmcompressor import (
    LlmcompressorInt8,
    LlmcompressorInt8Params,
    LlmcompressorRtn,
    LlmcompressorRtnParams,
)
from qpipe.engines.torchao import Torchao, TorchaoParams
from qpipe.errors import RecipeError
from qpipe.stages import base
from qpipe.stages.base import Order
from tests.packed.checkpoints import checkpoint

Engine = tuple[type[base.Stage], Any]
BNB: Engine = (Bitsandbytes, BitsandbytesParams)
AO: Engine = (Torchao, TorchaoParams)
RTN: Engine = (LlmcompressorRtn, LlmcompressorRtnParams)
INT8: Engine = (LlmcompressorInt8, LlmcompressorInt8Params)
AUTOROUND: Engine = (Autoround, AutoroundParams)
SKIP = ModuleRule(skip=True)


def model(folder: Path, kind: str, **shapes: tuple[int, ...]) -> Path:
    """A checkpoint of zeros with an attention matrix of 128 × 128, and others."""
    shapes = {"model.layers.0.self_attn.q_proj": (128, 128), **shapes}
    tensors = {f"{name}.weight": np.zeros(shape, np.uint16) for name, shape in shapes.items()}
    return checkpoint(folder, tensors, model_type=kind)


def refuse(engine: Engine, source: Path, **params: Any) -> None:
    stage, model_of = engine
    stage.refuse(model_of(**params), Order({"model": source}))


MOE = {f"model.layers.0.mlp.experts.{i}.up_proj": (128, 128) for i in range(3)}


@pytest.mark.parametrize("engine", [BNB, AO], ids=["bitsandbytes", "torchao"])
def test_experts_that_would_stay(tmp_path: Path, engine: Engine) -> None:
    source = model(tmp_path, "qwen3_moe", **MOE)
    with pytest.raises(RecipeError) as caught:
        refuse(engine, source)
    said = str(caught.value)
    assert "3 of 4 matrices that were to be quantized, such as model.layers.0.mlp.experts.2" in said
    assert "quantize=rtn" in said and "quantize.modules={experts: skip}" in said
    refuse(engine, source, modules={"experts": SKIP})
    refuse(RTN, source)


@pytest.mark.parametrize("kind", ["gpt2", "falcon"])
@pytest.mark.parametrize("engine", [BNB, AO, RTN, INT8, AUTOROUND], ids=lambda e: e[0].__name__)
def test_matrices_that_are_no_linear(tmp_path: Path, engine: Engine, kind: str) -> None:
    source = model(tmp_path, kind)
    if (engine, kind) == (BNB, "gpt2"):
        refuse(engine, source)
        return
    with pytest.raises(RecipeError, match=rf"{kind}'s matrices are .* which .* does not quantize"):
        refuse(engine, source)


def test_experts_in_one_tensor(tmp_path: Path) -> None:
    source = model(tmp_path, "gpt_oss", **{"model.layers.0.mlp.experts.down_proj": (4, 128, 128)})
    for engine in (BNB, AO, RTN, AUTOROUND):
        with pytest.raises(RecipeError, match=r"4 × 128 × 128.*use quantize=gguf"):
            refuse(engine, source)


def test_transformers_cannot_read_experts_of_8_bits_back(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"quantize=rtn quantize\.bits=8"):
        refuse(INT8, model(tmp_path, "qwen3_moe", **MOE))


def test_sides_that_auto_round_leaves(tmp_path: Path) -> None:
    source = model(tmp_path, "llama", **{"model.layers.0.self_attn.k_proj": (48, 128)})
    with pytest.raises(RecipeError, match=r"1 of 2 matrices .*k_proj.*modules=\{k_proj: skip\}"):
        refuse(AUTOROUND, source)
    refuse(AUTOROUND, source, modules={"k_proj": SKIP})
    refuse(AUTOROUND, source, format="gguf:q4_k_m")


@pytest.mark.parametrize(
    ("kind", "shape", "told"),
    [
        ("phi", (128, 128), "does not know models of type 'phi'"),
        ("llama", (128, 96), "rows of model.layers.0.mlp.up_proj have 96 weights"),
        ("llama", (96, 128), "up_proj has 96 rows, and autoawq takes multiples of 64"),
    ],
)
def test_what_autoawq_fails_at(
    tmp_path: Path, kind: str, shape: tuple[int, ...], told: str
) -> None:
    source = model(tmp_path, kind, **{"model.layers.0.mlp.up_proj": shape})
    with pytest.raises(RecipeError, match=told):
        refuse((AutoAwq, AutoAwqParams), source)
    refuse((AutoAwq, AutoAwqParams), model(tmp_path, "llama"))


def test_rules_that_leave_nothing(tmp_path: Path) -> None:
    source = model(tmp_path, "llama")
    with pytest.raises(RecipeError, match="leaves none of the 1 modules to quantize"):
        refuse(RTN, source, modules={"proj": SKIP})


@pytest.mark.parametrize("name", ["lm_head", "visual", "vision_tower", "multi_modal_projector"])
def test_what_stays_anyway_may_be_skipped(tmp_path: Path, name: str) -> None:
    refuse(BNB, model(tmp_path, "llama"), llm_int8_skip_modules=[name])
    with pytest.raises(RecipeError, match="matches none"):
        refuse(RTN, model(tmp_path, "llama"), modules={name: ModuleRule(bits=8)})


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"modules": {"q_proj": 5}}, "sets bits=5: auto-round packs 2, 3, 4 and 8"),
        ({"format": "auto_awq", "modules": {"q_proj": 8}}, "sets bits=8: auto_awq has 4 bits"),
        ({"format": "auto_awq", "bits": 8}, "bits=8: auto_awq has 4 bits"),
        ({"format": "gguf:q9_k"}, "auto-round writes gguf:q4_0"),
        ({"format": "llm_compressor", "sym": False}, "without zero points alone"),
        ({"bits": 8, "sym": False}, r"256 in 8 bits is 0\); set quantize\.sym=true"),
        ({"modules": {"q_proj": 8}, "sym": False}, "256 in 8 bits is 0"),
    ],
    ids=str,
)
def test_what_auto_round_cannot_write(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        AutoroundParams(**wrong)


def test_what_writes_a_format_is_in_auto_rounds_key(monkeypatch: pytest.MonkeyPatch) -> None:
    keys: dict[str, list[Any]] = {}
    for version in ("0.19.0", "9.9.9"):
        monkeypatch.setattr(base, "installed", lambda name, v=version: f"{name} {v}")
        for form in ("auto_gptq", "llm_compressor", "gguf:q4_k_m"):
            found = Autoround.fingerprint(AutoroundParams(format=form))
            keys.setdefault(form, []).append(found.get("compressed-tensors", found.get("gguf")))
    assert keys == {
        "auto_gptq": [None, None],
        "llm_compressor": ["compressed-tensors 0.19.0", "compressed-tensors 9.9.9"],
        "gguf:q4_k_m": ["gguf 0.19.0", "gguf 9.9.9"],
    }
