"""Sizes of packed checkpoints: as the engines wrote them, to the byte.

packed_golden.json has what llm-compressor 0.14, bitsandbytes 0.50, torchao 0.18, auto-round 0.15
and GPTQModel 7.6.0 wrote of small models: bytes of tensors, of the file, and weights. With the
engines that are installed, tests/engines/test_table.py compares it anew.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qpipe import sizes
from qpipe.errors import CheckpointError, RecipeError
from qpipe.sizes.known_fields import FIELDS
from qpipe.stages.registry import all_stages, chosen
from tests.sizes.published_packed import PACKED

GOLDEN = json.loads(Path(__file__).with_name("packed_golden.json").read_bytes())


def shape(model: str) -> dict[str, Any]:
    found = sizes.shapes(model)
    assert found is not None
    return dict(found)


def made_id(made: dict[str, Any]) -> str:
    asked = {k: v for k, v in made["quantize"].items() if k not in ("method", "modules")}
    return f"{made['model']}-{made['quantize']['method']}-" + "-".join(map(str, asked.values()))


@pytest.mark.parametrize("made", GOLDEN["made"], ids=made_id)
def test_as_engines_write_them(made: dict[str, Any]) -> None:
    said = sizes.predict(GOLDEN["models"][made["model"]], made["quantize"])
    tensors, file, weights = made["sizes"]
    # The notes of double quantization have a number, of so many digits as it comes.
    few = 0 if "double_quant" not in made["quantize"] else 3 * len(GOLDEN["models"])
    assert said.tensor_bytes == pytest.approx(tensors, abs=few)
    assert said.weights == weights
    assert said.file_bytes == pytest.approx(file, rel=1e-3)
    assert made["format"] in (said.format, f"{said.format}-mixed") or "modules" in made["quantize"]


@pytest.mark.parametrize(("model", "asked", "size"), PACKED)
def test_on_the_hub(model: str, asked: dict[str, Any], size: int) -> None:
    assert sizes.predict(shape(model), asked).tensor_bytes == size


def test_bits_and_groups() -> None:
    """The head only where it is asked for; scales and zero points for each group."""
    model = shape("meta-llama/Llama-2-7b")
    plain = sizes.predict(model, {"method": "gptq"})
    assert plain.format == "GPTQ-4bit-g128"
    assert plain.bits_per_weight == pytest.approx(4.623, abs=1e-3)
    same = sizes.predict(model, {"method": "gptq", "wbits": 4, "groupsize": 128})
    assert same == plain
    head = sizes.predict(model, {"method": "gptq", "lm_head": True})
    rows, columns = 32000, 4096
    packed = rows * columns // 2 + (rows // 2 + 2 * rows) * columns // 128 + 4 * columns
    assert plain.tensor_bytes - head.tensor_bytes == 2 * rows * columns - packed
    skipped = sizes.predict(model, {"method": "gptq", "modules": {"o_proj": "skip"}})
    wider = sizes.predict(model, {"method": "gptq", "modules": [["o_proj", 8]]})
    assert plain.tensor_bytes < wider.tensor_bytes < skipped.tensor_bytes
    listed = sizes.predict(model, {"method": "awq", "modules_to_not_convert": ["o_proj"]})
    assert listed.tensor_bytes > sizes.predict(model, {"method": "awq"}).tensor_bytes


def test_eight_bits_of_floats() -> None:
    model = shape("meta-llama/Llama-3.1-8B")
    rows = {s: sizes.predict(model, {"method": "fp8", "scheme": s}) for s in _FP8}
    matrices = 8030261248 - 2 * 128256 * 4096 - 65 * 4096
    whole = matrices + 2 * (8030261248 - matrices)
    assert rows["static"].tensor_bytes == whole + 224 * 2 * 2
    assert rows["dynamic"].tensor_bytes - whole == 2 * 32 * (4096 * 3 + 1024 * 2 + 14336 * 2)
    assert rows["block"].format == "FP8-block"


_FP8 = ("dynamic", "block", "static")


def test_exl2() -> None:
    """Layers as asked for, embeddings in half precision; the head is a little more than it says."""
    model = shape("meta-llama/Llama-2-7b")
    said = sizes.predict(model, {"method": "exl2", "bits": 4.0, "head_bits": 6})
    embeddings, norms = 32000 * 4096, 65 * 4096
    layers = 6738415616 - 2 * embeddings - norms
    head = said.tensor_bytes - layers // 2 - 2 * (embeddings + norms)
    # 15 % of the columns, in whole groups of 128, have eight bits; four bits of scale a group.
    groups = -(-4096 * 15 // 100 // 128)
    bits = (8 * groups + 6 * (32 - groups)) / 32 + 4 / 128
    assert 8 * head / embeddings == pytest.approx(bits, rel=1e-3)
    assert "measurement" in said.notes[0]
    tied = sizes.predict(shape("Qwen/Qwen2.5-0.5B"), {"method": "exl2", "bpw": 5})
    assert tied.weights == 494032768
    assert "a head of its own" in tied.notes[1]


def test_checkpoints_in_one_precision() -> None:
    opt = shape("facebook/opt-125m")
    assert sizes.predict(opt, {"dtype": "fp16"}).tensor_bytes == 2 * 125239296
    assert sizes.predict(opt, {"dtype": "source"}).format == "FP16"
    assert sizes.predict(opt, {"method": "none", "dtype": "f32"}).bits_per_weight == 32
    awq = shape("Qwen/Qwen2.5-7B") | {"quantization_config": {"quant_method": "awq", "bits": 4}}
    with pytest.raises(CheckpointError, match="quantized already"):
        sizes.predict(awq, {"dtype": "source"})


def test_gguf_by_auto_round() -> None:
    model = shape("Qwen/Qwen2.5-7B")
    said = sizes.predict(model, {"method": "autoround", "format": "gguf:q4_k_m"})
    assert (
        said.tensor_bytes == sizes.predict(model, {"method": "gguf", "type": "Q4_K_M"}).tensor_bytes
    )
    assert "auto-round" in said.notes[-1]


def test_refusals() -> None:
    with pytest.raises(RecipeError, match="its embeddings are the output matrix too"):
        sizes.predict(shape("Qwen/Qwen2.5-0.5B"), {"method": "gptq", "lm_head": True})
    with pytest.raises(RecipeError, match="experts of a layer in one tensor"):
        sizes.predict(shape("openai/gpt-oss-20b"), {"method": "gptq"})
    with pytest.raises(RecipeError, match=r"quantize\.bits is 5"):
        sizes.predict(shape("Qwen/Qwen2.5-7B"), {"method": "gptq", "bits": 5})
    with pytest.raises(
        CheckpointError, match=r"'GPTJForCausalLM', so its tensors .* 'OPTForCausalLM'"
    ):
        sizes.predict({"architectures": ["GPTJForCausalLM"]}, {"method": "awq"})
    with pytest.raises(CheckpointError, match="cannot convert to GGUF"):
        sizes.predict(shape("facebook/opt-125m"), {"method": "gguf", "type": "Q4_0"})


def test_what_llama_cpp_does_not_compute_is_packed_all_the_same() -> None:
    model = shape("meta-llama/Llama-2-7b") | {"hidden_act": "gelu"}
    assert sizes.predict(model, {"method": "awq"}).weights == 6738415616
    with pytest.raises(CheckpointError, match="hidden_act"):
        sizes.predict(model, {"method": "gguf", "type": "Q4_0"})


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"method": "gguf", "typ": "Q4_K_M"}, r"quantize\.typ: gguf has no such field.*'type'"),
        ({"method": "gguf", "type": 4}, r"quantize\.type is 4, not a text"),
        ({"method": "gptq", "group_size": 0}, r"quantize\.group_size is 0, not one of -1, 16"),
        ({"method": "gptq", "sym": "no"}, r"quantize\.sym is 'no', not true or false"),
        ({"method": "gptq", "modules": {"q_proj": {"bit": 8}}}, r"quantize\.modules.*neither skip"),
        ({"method": "gptq", "modules": {"q_proj": 9}}, r"quantize\.modules.*not 2 to 8"),
        ({"method": "gptq", "modules": {"(": 8}}, r"quantize\.modules"),
        ({"method": "gptq", "modules": 5}, r"quantize\.modules"),
        ({"method": "exl2", "bits": 0}, r"quantize\.bits is 0, not a number of bits"),
        ({"method": "exl2", "head_bits": 5}, r"quantize\.head_bits is 5, not one of"),
        ({"method": "bnb", "type": "nf3"}, r"quantize\.type is 'nf3', not one of nf4"),
        ({"dtype": "fp8"}, r"quantize\.dtype is 'fp8', not one of fp32"),
        ({"via": "q8"}, r"quantize\.via is 'q8', not one of f32"),
        (
            {"method": "gguf", "target": {"size": "3GB"}},
            r"quantize\.target: which types a mix has hangs on",
        ),
    ],
)
def test_a_wrong_field_is_named(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        sizes.predict(shape("Qwen/Qwen2.5-7B"), asked)


def test_fields_are_those_of_the_engines() -> None:
    for engine in all_stages()["quantize"]:
        method = str(chosen(engine).get("method"))
        if method in FIELDS:
            params: Any = engine.Params
            spelled = {name for name, _ in getattr(params, "SPELLINGS", ())}
            names = {*params.model_fields, *spelled, *getattr(params, "SKIP_LISTS", ())}
            assert names <= FIELDS[method], (engine, names - FIELDS[method])
