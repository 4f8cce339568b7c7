"""What convert refuses, and how it says so."""

from __future__ import annotations

import json
import math
import re
import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from qpipe import errors
from qpipe.gguf import reader, values
from qpipe.gguf.convert import convert
from tests.gguf import samples

Q_PROJ = "model.layers.0.self_attn.q_proj.weight"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return samples.copy_model("stories260K", tmp_path / "stories260K")


def refused(model: Path, message: str, **options: Any) -> str:
    """Convert must fail with this message and leave nothing behind."""
    out = model.parent / "out.gguf"
    with pytest.raises(errors.CheckpointError, match=message) as caught:
        convert(model, out, **({"outtype": "F32"} | options))
    assert list(model.parent.glob("out.gguf*")) == []
    return str(caught.value)


def test_unsupported_architecture(model: Path) -> None:
    samples.edit_config(model, architectures=["MambaForCausalLM"])
    message = refused(model, r"config.json: field 'architectures' names 'MambaForCausalLM'")
    assert re.search(r"without it did you mean .*ForCausalLM'\?$", message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architectures": None}, r"'architectures' is missing, not a list"),
        ({"architectures": [3]}, r"'architectures' is \[3\], not a list"),
        ({"hidden_size": "64"}, r"'hidden_size' is '64', not a positive integer"),
        ({"hidden_size": True}, r"'hidden_size' is True, not a positive integer"),
        ({"num_hidden_layers": 0}, r"'num_hidden_layers' is 0, not a positive"),
        ({"vocab_size": None}, r"'vocab_size' is missing, not a positive integer"),
        ({"head_dim": 7}, r"'head_dim' is 7, not an even number"),
        ({"num_hidden_layers": 10**7}, r"'num_hidden_layers' is 10000000, .* of at most 512"),
        ({"head_dim": 2**31}, r"'head_dim' is 2147483648, not a positive integer of at most"),
        ({"head_dim": 2**31 - 2}, r"has the shape \[32, 64\], but .* \(kv × hidden\)"),
        ({"num_attention_heads": 0}, r"'num_attention_heads' is 0, not a positive integer"),
        (
            {"hidden_size": 60, "head_dim": None},
            r"'num_attention_heads' is 8, not a divisor of hidden_size \(60\)",
        ),
        ({"num_key_value_heads": 3}, r"'num_key_value_heads' is 3, not a divisor of .*\(8\)"),
        ({"rms_norm_eps": "x"}, r"'rms_norm_eps' is 'x', not a positive number"),
        ({"tie_word_embeddings": 1}, r"'tie_word_embeddings' is 1, not true or false"),
        (
            {"rope_scaling": {"rope_type": "ntk", "factor": 2}},
            r"RoPE scaling 'ntk', which GGUF has",
        ),
        ({"rope_scaling": {"type": "linear"}}, r"'factor' is missing, not a positive number"),
        (
            {"quantization_config": {"bits": 4}},
            "quantized already .by a method .* 4 bits.*before quantization",
        ),
        ({"hidden_size": 32, "head_dim": 8}, r"has the shape \[512, 64\].* \(vocab × hidden\)"),
        ({"num_hidden_layers": 6}, r"'model.layers.5.input_layernorm.weight' is missing, which"),
        ({"num_hidden_layers": 4}, r"layers.4.* does not belong to a model like"),
        ({"tie_word_embeddings": False}, r"'lm_head.weight' is missing"),
    ],
)
def test_config_that_is_wrong(model: Path, changes: dict[str, Any], message: str) -> None:
    samples.edit_config(model, **changes)
    refused(model, message)


@pytest.mark.parametrize(
    "value",
    [*(math.nan, math.inf, -math.inf, 0, -1e-5, 1e-60, 1e60, 10**400, True, "1e-5", [1.0]), {}],
    ids=str,
)
@pytest.mark.parametrize("field", ["rms_norm_eps", "rope_theta"])
def test_number_that_is_none(model: Path, field: str, value: object) -> None:
    path = model / "config.json"
    given = json.dumps(json.loads(path.read_text()) | {field: value})
    path.write_text(given)
    refused(model, rf"config.json: field '{field}' is .*, not a positive number; correct it")


@pytest.mark.parametrize("value", [math.nan, math.inf, 0, -2, True, 3.0, "8", 2**31, [8], {}])
@pytest.mark.parametrize("field", ["hidden_size", "num_key_value_heads", "max_position_embeddings"])
def test_integer_that_is_none(model: Path, field: str, value: object) -> None:
    samples.edit_config(model, **{field: value})
    refused(model, rf"config.json: field '{field}' is .*, not a positive integer")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", [Q_PROJ, "model.norm.weight"])
def test_weight_that_is_no_number(model: Path, value: float, name: str) -> None:
    samples.edit_tensor(model, name, 63, value)
    message = refused(model, rf"model.safetensors: tensor '{name}': .*column 63 is {value}")
    assert "row 0" in message


def test_weight_outside_f16(model: Path) -> None:
    samples.edit_tensor(model, Q_PROJ, 5, 70000.0)
    refused(model, rf"{Q_PROJ}': the weight 70000 lies outside .*F16.*choose BF16", outtype="f16")
    convert(model, model.parent / "wide.gguf", outtype="bf16")


def test_truncated_checkpoint(model: Path) -> None:
    path = model / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    refused(model, r"model.safetensors: .*it is truncated: tensor 'model.norm.weight' needs")


def test_quantized_dtype(model: Path) -> None:
    tensors = samples.load_tensors(model)
    tensors[Q_PROJ] = ("I8", (64, 64), bytes(64 * 64))
    samples.write_safetensors(model / "model.safetensors", tensors)
    refused(model, rf"{Q_PROJ}' has the dtype I8; F32, F16, BF16 can be converted")


def test_other_outtype(model: Path) -> None:
    with pytest.raises(errors.RecipeError, match=r"'Q8_0' is not one of F32, F16, BF16"):
        convert(model, model.parent / "out.gguf", outtype="Q8_0")


def test_full_disk(model: Path) -> None:
    """A device that is always full, under the name that convert writes to first."""
    out = model.parent / "out.gguf"
    (model.parent / "out.gguf.partial").symlink_to("/dev/full")
    with pytest.raises(errors.OutOfSpaceError, match=r"out.gguf: the disk is full; free some"):
        convert(model, out, outtype="F32")
    assert not out.exists()


def test_leftovers_of_training_are_passed_over(model: Path) -> None:
    tensors = samples.load_tensors(model)
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = ("F32", (4,), bytes(16))
    samples.write_safetensors(model / "model.safetensors", tensors)
    convert(model, model.parent / "out.gguf", outtype="F32")
    rows = samples.rows_of(model.parent / "out.gguf")
    assert rows == samples.golden_rows("stories260K", "F32")


def test_untied_output_and_half_precision(model: Path) -> None:
    tensors = samples.load_tensors(model)
    embedding = tensors["model.embed_tokens.weight"]
    half = np.frombuffer(embedding[2], "<f4").astype("<f2").tobytes()
    tensors["lm_head.weight"] = ("F16", embedding[1], half)
    samples.write_safetensors(model / "model.safetensors", tensors)
    samples.edit_config(model, tie_word_embeddings=False)
    facts = convert(model, model.parent / "out.gguf", outtype="F16")
    file = reader.read(model.parent / "out.gguf")
    assert file.data(file.tensors["output.weight"]).tobytes() == half
    assert facts["types"] == {"F16": 37, "F32": 11}


def test_name_sampling_and_model_card(model: Path) -> None:
    (model / "README.md").write_text("---\nlicense: mit\nlanguage: [en]\n---\n# x\n")
    (model / "generation_config.json").write_text('{"temperature": 0.7, "top_k": 20}')
    out = model.parent / "out.gguf"
    convert(model, out, outtype="F32", name="acme/Tiny-260K-Instruct")
    metadata = values.decoded(reader.read(out).metadata)
    assert metadata["general.name"] == "Tiny 260K Instruct"
    assert metadata["general.finetune"] == "Instruct"
    assert metadata["general.license"] == "mit"
    assert metadata["general.languages"] == ["en"]
    assert metadata["general.sampling.top_k"] == 20
    assert metadata["general.sampling.temp"] == pytest.approx(0.7)


def test_broken_model_card(model: Path) -> None:
    (model / "README.md").write_text("---\nlicense: [mit\n---\n")
    refused(model, r"README.md: the front matter is no YAML .*correct or remove the file")


def test_yarn(model: Path) -> None:
    rope = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e6, "beta_fast": 32}
    rope["original_max_position_embeddings"] = 512
    samples.edit_config(model, rope_parameters=rope)
    convert(model, model.parent / "out.gguf", outtype="F32")
    metadata = values.decoded(reader.read(model.parent / "out.gguf").metadata)
    assert {k: v for k, v in metadata.items() if ".rope." in k} == {
        "llama.rope.scaling.type": "yarn",
        "llama.rope.scaling.factor": 4.0,
        "llama.rope.scaling.original_context_length": 512,
        "llama.rope.scaling.yarn_beta_fast": 32.0,
        "llama.rope.freq_base": 1e6,
        "llama.rope.dimension_count": 8,
    }


def test_biases_are_interleaved_like_their_rows(model: Path) -> None:
    samples.edit_config(model, attention_bias=True)
    tensors = samples.load_tensors(model)
    for i in range(5):
        for kind, rows in {"q": 64, "k": 32, "v": 32, "o": 64}.items():
            bias = np.arange(rows, dtype="<f4").tobytes()
            tensors[f"model.layers.{i}.self_attn.{kind}_proj.bias"] = ("F32", (rows,), bias)
    samples.write_safetensors(model / "model.safetensors", tensors)
    convert(model, model.parent / "out.gguf", outtype="F16")
    file = reader.read(model.parent / "out.gguf")
    tensor = file.tensors["blk.0.attn_q.bias"]
    assert tensor.type.name == "F32"
    written = file.data(tensor).view("<f4")[0]
    assert written[:8].tolist() == [0, 4, 1, 5, 2, 6, 3, 7]
    assert written.tolist() == np.arange(64).reshape(8, 2, 4).swapaxes(1, 2).reshape(-1).tolist()


def test_bias_that_transformers_passes_over(model: Path) -> None:
    tensors = samples.load_tensors(model)
    name = "model.layers.0.self_attn.q_proj.bias"
    tensors[name] = ("F32", (64,), bytes(256))
    samples.write_safetensors(model / "model.safetensors", tensors)
    refused(model, rf"'attention_bias' is False: yet .*tensor '{name}' is there, which transf")


def test_threads_and_progress_change_no_byte(tmp_path: Path) -> None:
    source = samples.MODELS["tinystories-d256"]
    seen: list[tuple[int, int]] = []
    convert(source, tmp_path / "a", outtype="F16", name="x")
    convert(
        source, tmp_path / "b", outtype="F16", name="x", threads=3,
        progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert seen[-1][0] == seen[-1][1] == 6824960
    assert seen == sorted(seen)


def test_another_reader_agrees(model: Path) -> None:
    """gguf.GGUFReader, and weights compared with the checkpoint itself."""
    convert(model, model.parent / "out.gguf", outtype="F32")
    theirs = {t.name: t for t in gguf.GGUFReader(model.parent / "out.gguf").tensors}
    stored = samples.load_tensors(model)["model.layers.2.mlp.up_proj.weight"]
    wanted = struct.unpack(f"<{len(stored[2]) // 4}f", stored[2])
    assert theirs["blk.2.ffn_up.weight"].data.reshape(-1).tolist() == list(wanted)
