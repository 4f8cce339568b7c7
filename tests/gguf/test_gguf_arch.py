"""Every architecture against what llama.cpp's converter makes of the same random checkpoint.

The golden files hold the converter's metadata and the digests of its tensors (llama.cpp as in the
sources of llama-cpp-python 0.3.36; transformers 5.17.0, torch 2.13.0).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qpipe import errors
from qpipe.gguf import reader, values
from qpipe.gguf.convert import convert, foresee, prepare
from qpipe.llamacpp.backend import LlamaCppBackend
from tests.gguf import logits, samples
from tests.gguf.arch_checkpoints import (
    EXPERT_FFN,
    EXPERTS,
    FFN,
    HEADS,
    HIDDEN,
    KV_HEADS,
    LLAMA_NORMS,
    Shapes,
    attention,
    config,
    feed_forward,
    model,
    norms,
    write,
)

pytestmark = pytest.mark.xdist_group("architectures")

Case = tuple[dict[str, Any], Shapes]

YARN = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e6}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 512,
}
LONGROPE = {"type": "longrope", "short_factor": [1.0] * 32, "long_factor": [2.0] * 32}
LINEAR = {"rope_type": "linear", "factor": 2.0}

CASES: dict[str, Case] = {
    "llama": (
        config("LlamaForCausalLM", "llama", rope_scaling=LLAMA3, rope_theta=5e5),
        model(attention(64) | feed_forward() | LLAMA_NORMS),
    ),
    "qwen2": (
        config("Qwen2ForCausalLM", "qwen2", rope_theta=1e6, tie_word_embeddings=True),
        model(attention(64, bias=True) | feed_forward() | LLAMA_NORMS, tied=True),
    ),
    "qwen3": (
        config("Qwen3ForCausalLM", "qwen3", head_dim=96, tie_word_embeddings=True),
        model(attention(96, norms=True) | feed_forward() | LLAMA_NORMS, tied=True),
    ),
    "qwen3-default-head": (
        config("Qwen3ForCausalLM", "qwen3", rope_parameters=YARN),
        model(attention(128, norms=True) | feed_forward() | LLAMA_NORMS),
    ),
    "mistral": (
        config("MistralForCausalLM", "mistral", head_dim=32, sliding_window=64, rope_theta=1e6),
        model(attention(32) | feed_forward() | LLAMA_NORMS),
    ),
}


GEMMA_NORMS = LLAMA_NORMS | norms("pre_feedforward_layernorm", "post_feedforward_layernorm")
GEMMA: dict[str, Any] = {"head_dim": 64, "tie_word_embeddings": True}


def experts(prefix: str, names: tuple[str, str, str], ffn: int) -> Shapes:
    """Gate, up and down projection, so named, of every expert."""
    gate, up, down = names
    found: Shapes = {}
    for i in range(EXPERTS):
        found[f"{prefix}.{i}.{gate}.weight"] = found[f"{prefix}.{i}.{up}.weight"] = (ffn, HIDDEN)
        found[f"{prefix}.{i}.{down}.weight"] = (HIDDEN, ffn)
    return found


QWEN_EXPERTS: dict[str, Any] = {
    "num_experts": EXPERTS,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": EXPERT_FFN,
}
QWEN_EXPERT_SHAPES = experts("mlp.experts", ("gate_proj", "up_proj", "down_proj"), EXPERT_FFN) | {
    "mlp.gate.weight": (EXPERTS, HIDDEN)
}

CASES |= {
    "mixtral": (
        config(
            "MixtralForCausalLM", "mixtral", num_local_experts=EXPERTS, num_experts_per_tok=3,
            intermediate_size=EXPERT_FFN,
        ),
        model(
            attention(64)
            | experts("block_sparse_moe.experts", ("w1", "w3", "w2"), EXPERT_FFN)
            | {"block_sparse_moe.gate.weight": (EXPERTS, HIDDEN)}
            | LLAMA_NORMS
        ),
    ),
    "phi": (  # under a name like "phi3" llama.cpp wants its token <|endoftext|>
        config("Phi3ForCausalLM", "phi3", sliding_window=64, original_max_position_embeddings=512),
        model(
            {
                "self_attn.qkv_proj.weight": ((HEADS + 2 * KV_HEADS) * 64, HIDDEN),
                "self_attn.o_proj.weight": (HIDDEN, HEADS * 64),
                "mlp.gate_up_proj.weight": (2 * FFN, HIDDEN),
                "mlp.down_proj.weight": (HIDDEN, FFN),
            }
            | LLAMA_NORMS
        ),
    ),
    "gemma2": (
        config("Gemma2ForCausalLM", "gemma2", sliding_window=64, query_pre_attn_scalar=64, **GEMMA),
        model(attention(64) | feed_forward() | GEMMA_NORMS, tied=True),
    ),
    "gemma3": (
        config(
            "Gemma3ForCausalLM", "gemma3_text", sliding_window=64, sliding_window_pattern=6,
            rope_theta=1e6, rope_local_base_freq=5e3, query_pre_attn_scalar=64, **GEMMA,
        ),
        model(attention(64, norms=True) | feed_forward() | GEMMA_NORMS, tied=True),
    ),
    "gemma3-scaled": (
        config(
            "Gemma3ForCausalLM", "gemma3_text", rope_scaling=LINEAR, query_pre_attn_scalar=64,
            **GEMMA,
        ),
        model(attention(64, norms=True) | feed_forward() | GEMMA_NORMS, tied=True),
    ),
    "qwen3_moe": (
        config(
            "Qwen3MoeForCausalLM", "qwen3_moe", head_dim=64, norm_topk_prob=True, **QWEN_EXPERTS
        ),
        model(attention(64, norms=True) | QWEN_EXPERT_SHAPES | LLAMA_NORMS),
    ),
    "qwen2_moe": (
        config(
            "Qwen2MoeForCausalLM", "qwen2_moe", shared_expert_intermediate_size=128,
            **QWEN_EXPERTS,
        ),
        model(
            attention(64, bias=True)
            | QWEN_EXPERT_SHAPES
            | feed_forward("mlp.shared_expert.", 128)
            | {"mlp.shared_expert_gate.weight": (1, HIDDEN)}
            | LLAMA_NORMS
        ),
    ),
}  # fmt: skip


def golden(case: str) -> dict[str, Any]:
    """{"metadata": {key: [kind, value]}, "tensors": [[name, type, shape, digest]]}."""
    loaded: dict[str, Any] = json.loads((samples.GOLDEN / "arch" / f"{case}.json").read_text())
    return loaded


def described(path: Path) -> dict[str, Any]:
    """A file in golden form."""
    metadata = reader.read(path).metadata
    return {
        "metadata": {
            key: [values.kind_of(value), samples.summarized(values.decode(value))]
            for key, value in metadata.items()
        },
        "tensors": [list(row) for row in samples.rows_of(path)],
    }


def make(case: str, tmp_path: Path) -> Path:
    """The checkpoint of a case."""
    fields, shapes = CASES[case]
    return write(tmp_path / case, fields, shapes)


@pytest.fixture(scope="module", params=list(CASES))
def case(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def converted(case: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("arch")
    convert(make(case, folder), folder / "out.gguf", outtype="F16")
    yield folder / "out.gguf"


def test_as_llama_cpp_converts_it(case: str, converted: Path) -> None:
    ours, theirs = described(converted), golden(case)
    assert ours["metadata"] == theirs["metadata"]
    assert list(ours["metadata"]) == list(theirs["metadata"])
    assert ours["tensors"] == theirs["tensors"]


def test_llama_cpp_runs_it(converted: Path) -> None:
    tokens = np.array([[1, 300, 400, 500, 600, 700, 800, 900]], np.int32)
    with LlamaCppBackend(converted, threads=1) as backend:
        for _, _, logits in backend.logits(tokens, first=0):
            assert np.isfinite(logits).all()
            assert logits.std() > 0


def test_config_json_tells_all_of_it_but_the_vectors(case: str, tmp_path: Path) -> None:
    """What is refused before a download is refused for what the download would bring."""
    folder = make(case, tmp_path)
    there = prepare(folder, outtype="F16")
    coming = foresee(folder / "config.json")
    assert coming.notes == there.notes[: len(coming.notes)]
    assert coming.metadata.items() <= there.metadata.items()
    found, foreseen = (
        {one.name: (one.shape, one.type) for one in given.outputs if len(one.shape) > 1}
        for given in (there, coming)
    )
    assert foreseen == found


def refused(folder: Path, message: str) -> None:
    """Convert must fail with this message and leave nothing behind."""
    with pytest.raises(errors.CheckpointError, match=message):
        convert(folder, folder.parent / "out.gguf", outtype="F16")
    assert list(folder.parent.glob("out.gguf*")) == []


@pytest.mark.parametrize(
    ("case", "changes", "message"),
    [
        (
            "qwen3",
            {"rope_scaling": {"rope_type": "llama3"}},
            r"'rope_type' .* 'llama3', which GGUF has no place for",
        ),
        (
            "phi",
            {"rope_scaling": LONGROPE | {"factor": 4.0}},
            r"'factor' is 4.0: llama.cpp computes what the lengths of the context imply",
        ),
        ("phi", {"rope_scaling": LONGROPE | {"short_factor": [1.0]}}, r"'short_factor' .* 32 num"),
        (
            "llama",
            {"rope_scaling": LONGROPE},
            r"'longrope', which GGUF has no place .*; other meth",
        ),
        (
            "gemma2",
            {"rope_scaling": LINEAR},
            r"field 'rope_type' .* 'linear', .* \(it does default",
        ),
        (
            "gemma3",
            {"attn_logit_softcapping": 50.0},
            r"'attn_logit_softcapping' is 50.0: llama.cpp",
        ),
        ("qwen3_moe", {"mlp_only_layers": [0]}, r"'mlp_only_layers' is \[0\]: llama.cpp computes"),
        ("qwen3_moe", {"decoder_sparse_step": 2}, r"'decoder_sparse_step' is 2: llama.cpp compute"),
        ("mixtral", {"num_local_experts": 13}, r"experts.12.w1.weight' is missing, which"),
        ("mixtral", {"num_local_experts": 11}, r"experts.11.w1.weight' does not belong to a model"),
    ],
)
def test_refused(case: str, changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    folder = make(case, tmp_path)
    samples.edit_config(folder, **changes)
    refused(folder, message)


def test_half_precision_norms_are_shifted_in_half_precision(tmp_path: Path) -> None:
    """As the converter's tensors of that dtype are."""
    fields, shapes = CASES["gemma2"]
    folder = write(tmp_path / "half", fields, shapes, dtype="F16")
    convert(folder, tmp_path / "out.gguf", outtype="F16")
    file = reader.read(tmp_path / "out.gguf")
    stored = np.frombuffer(samples.load_tensors(folder)["model.norm.weight"][2], "<f2")
    written = file.data(file.tensors["output_norm.weight"]).view("<f4")[0]
    assert written.tolist() == (stored + np.float16(1)).astype(np.float32).tolist()


@pytest.mark.parametrize("alike", [True, False])
def test_a_head_beside_the_embeddings_that_stand_for_it(alike: bool, tmp_path: Path) -> None:
    """llama.cpp takes Gemma 2's embeddings for the head: another one would be lost."""
    folder = make("gemma2", tmp_path)
    tensors = samples.load_tensors(folder)
    dtype, shape, stored = tensors["model.embed_tokens.weight"]
    head = stored if alike else stored[:-2] + bytes(2)
    samples.write_safetensors(
        folder / "model.safetensors", tensors | {"lm_head.weight": (dtype, shape, head)}
    )
    if not alike:
        refused(folder, r"tensor 'lm_head.weight' differs from model.embed_tokens.weight, which")
        return
    convert(folder, tmp_path / "out.gguf", outtype="F16")
    assert described(tmp_path / "out.gguf")["tensors"] == golden("gemma2")["tensors"]


@pytest.mark.parametrize("model", ["ernie4_5", "ernie4_5_moe"])
def test_ernie_hands_it_on_behind_the_other_keys(model: str, tmp_path: Path) -> None:
    fields = logits.fields_of(model)
    folder = logits.checkpoint(tmp_path / "m", fields, shaped=fields)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"add_prefix_space": False}))
    metadata = prepare(folder, outtype="F32").metadata
    assert values.decode(metadata["tokenizer.ggml.add_space_prefix"]) is False
    assert list(metadata)[-1] == "tokenizer.ggml.add_space_prefix"
