"""What GPTQModel cannot do is refused from config.json and headers alone, with what would help."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from qpipe.engines.gptqmodel import GptqmodelAwq, GptqmodelAwqParams, GptqmodelGptq
from qpipe.errors import RecipeError
from qpipe.stages.base import Order
from tests.packed.checkpoints import checkpoint, plain

UP, QUERY = "model.layers.0.mlp.up_proj", "model.layers.0.self_attn.q_proj"
ENGINES: dict[str, Any] = {"gptq": GptqmodelGptq, "awq": GptqmodelAwq}


def refuse(method: str, folder: Path, **params: Any) -> None:
    engine = ENGINES[method]
    asked = engine.Params.model_validate_json(json.dumps({"group_size": 32, **params}))
    engine.refuse(asked, Order({"model": folder}))


def model(folder: Path, rows: int = 64, columns: int = 128, **config: Any) -> Path:
    matrix, other = np.zeros((rows, columns), np.float16), np.zeros((64, 128), np.float16)
    tensors = {**plain(), f"{UP}.weight": matrix, f"{QUERY}.weight": other}
    return checkpoint(folder, tensors, **config)


KINDS = {
    "phi3": ("gptq", r"a phi3 .* gate_up_proj as two .*quantize\.engine=llmcompressor"),
    "mixtral": ("gptq", r"a mixtral .* experts under other names.* take quantize=gguf"),
    "gpt2": ("gptq", r"gpt2's matrices are Conv1D, .* use quantize=bnb"),
    "gemma2": ("awq", r"a gemma2 .* known to do AWQ rightly only of llama, .* take quantize=gptq"),
    "olmo2": ("awq", r"a olmo2 .*take quantize=gptq"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_architectures_are_refused_before_a_download(tmp_path: Path, kind: str) -> None:
    method, told = KINDS[kind]
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model_type": kind}))
    engine = ENGINES[method]
    with pytest.raises(RecipeError, match=told):
        engine.refuse(engine.Params(), Order({}, configs={"model": path}))
    with pytest.raises(RecipeError, match=told):
        refuse(method, model(tmp_path / "model", model_type=kind))


def test_what_it_does_is_not_refused(tmp_path: Path) -> None:
    for kind in ("llama", "qwen3_moe", "an_architecture_of_next_year"):
        refuse("gptq", model(tmp_path, model_type=kind), bits=3)
    refuse("awq", model(tmp_path, rows=56))


def test_shapes_that_cannot_be_packed(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=rf"{UP} has 60 rows.*modules={{up_proj: skip}}"):
        refuse("awq", model(tmp_path, rows=60))
    refuse("awq", model(tmp_path, rows=60), modules={"up_proj": "skip"})
    for rows, columns in ((60, 128), (64, 48)):
        with pytest.raises(RecipeError, match=rf"bits=3: {UP} is {rows} × {columns}"):
            refuse("gptq", model(tmp_path, rows, columns), bits=3, group_size=-1)
        refuse("gptq", model(tmp_path, rows, columns), bits=4, group_size=-1)
        refuse("gptq", model(tmp_path, rows, columns), bits=3, modules={"up_proj": 4},
               group_size=-1)  # fmt: skip


def test_an_output_matrix_that_is_not_the_models_own(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"lm_head=true: .* is its embeddings, or has another"):
        refuse("gptq", model(tmp_path), lm_head=True)
    with pytest.raises(RecipeError, match=r"lm_head=true: .*tie_word_embeddings"):
        refuse("gptq", model(tmp_path, tie_word_embeddings=True), lm_head=True)
    own = {**plain(), "lm_head.weight": np.zeros((33, 128), np.float16)}
    refuse("gptq", checkpoint(tmp_path, own), lm_head=True, modules={"lm_head": 8})
    with pytest.raises(RecipeError, match=r"bits=3: lm_head is 33 × 128"):
        refuse("gptq", checkpoint(tmp_path, own), lm_head=True, bits=3)


def test_gemv_names_who_packs_it() -> None:
    with pytest.raises(ValidationError, match=r"quantize\.engine to autoawq for GEMV"):
        GptqmodelAwqParams(version="GEMV")
