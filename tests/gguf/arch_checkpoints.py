"""Random checkpoints of each architecture, made from a seed, for the tests of the converter."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.gguf import samples
from tests.gguf.test_gguf_vocab import bpe_tokenizer

Shapes = dict[str, tuple[int, ...]]

HIDDEN, FFN, LAYERS, HEADS, KV_HEADS, VOCAB = 256, 512, 2, 4, 2, 1024
EXPERTS, EXPERT_FFN = 12, 64  # twelve: their names sort 0, 1, 10, 11, 2, …

# llama.cpp's converter looks for no SentencePiece there.
BPE_ONLY = (
    *("qwen2_moe", "qwen3_moe", "qwen3_next", "qwen3_5_text", "qwen3_5_moe_text", "gpt_oss"),
    *("lfm2", "lfm2_moe", "minimax_m2", "llama4_text", "deepseek_v2", "deepseek_v3"),
)

BASE = {
    "hidden_size": HIDDEN,
    "intermediate_size": FFN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "vocab_size": VOCAB,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-6,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def config(model_class: str, model_type: str, **fields: Any) -> dict[str, Any]:
    """config.json of a small model; None takes a field of the common ones away."""
    full = BASE | {"architectures": [model_class], "model_type": model_type} | fields
    return {key: value for key, value in full.items() if value is not None}


def attention(head_dim: int, *, bias: bool = False, norms: bool = False) -> Shapes:
    """Query, key, value and output projection."""
    q, kv = HEADS * head_dim, KV_HEADS * head_dim
    rows = {"q_proj": q, "k_proj": kv, "v_proj": kv}
    found: Shapes = {f"self_attn.{name}.weight": (n, HIDDEN) for name, n in rows.items()}
    found["self_attn.o_proj.weight"] = (HIDDEN, q)
    if bias:
        found |= {f"self_attn.{name}.bias": (n,) for name, n in rows.items()}
    if norms:
        found |= {f"self_attn.{name}_norm.weight": (head_dim,) for name in "qk"}
    return found


def feed_forward(prefix: str = "mlp.", ffn: int = FFN) -> Shapes:
    """Gate, up and down projection."""
    return {
        f"{prefix}gate_proj.weight": (ffn, HIDDEN),
        f"{prefix}up_proj.weight": (ffn, HIDDEN),
        f"{prefix}down_proj.weight": (HIDDEN, ffn),
    }


def norms(*names: str) -> Shapes:
    """Norms of the hidden size."""
    return {f"{name}.weight": (HIDDEN,) for name in names}


LLAMA_NORMS = norms("input_layernorm", "post_attention_layernorm")


def model(layer: Shapes, *, tied: bool = False) -> Shapes:
    """A whole model whose layers are all ``layer``."""
    found: Shapes = {"model.embed_tokens.weight": (VOCAB, HIDDEN), "model.norm.weight": (HIDDEN,)}
    if not tied:
        found["lm_head.weight"] = (VOCAB, HIDDEN)
    for i in range(LAYERS):
        found |= {f"model.layers.{i}.{name}": shape for name, shape in layer.items()}
    return found


# What Gemma 4's tokenizer.json has in place of Llama's: no space in front of a text.
_SPACES = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
_GEMMA4 = {
    "normalizer": _SPACES,
    "pre_tokenizer": None,
    "decoder": {
        "type": "Sequence",
        "decoders": [
            _SPACES | {"pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}
        ],
    },
}  # fmt: skip


def write(folder: Path, fields: Mapping[str, Any], shapes: Shapes, *, dtype: str = "BF16") -> Path:
    """A checkpoint in ``folder``, its weights from a seed, with the tokenizer of a small model."""
    folder.mkdir(parents=True)
    if fields["model_type"] in BPE_ONLY:
        config = {"eos_token": "<|endoftext|>", "tokenizer_class": "PreTrainedTokenizerFast"}
        (folder / "tokenizer.json").write_text(json.dumps(_complete_bpe()))
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    else:
        for name in ("tokenizer.model", "tokenizer.json", "tokenizer_config.json"):
            shutil.copy(samples.MODELS["tinystories-d256"] / name, folder)
    if fields["model_type"] == "gemma4_text":
        (folder / "tokenizer.model").unlink()
        tokenizer = json.loads((folder / "tokenizer.json").read_text())
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer | _GEMMA4))
    (folder / "config.json").write_text(json.dumps(fields, indent=1))
    random = np.random.RandomState(7)  # its stream is frozen for good
    tensors = {}
    for name, shape in shapes.items():
        weights = (random.standard_normal(shape) * 0.05).astype(np.float32)
        tensors[name] = (dtype, shape, _stored(weights, dtype))
    samples.write_safetensors(folder / "model.safetensors", tensors)
    return folder


def _complete_bpe() -> dict[str, Any]:
    """The small tokenizer with every field that the tokenizers package insists on."""
    tokenizer = bpe_tokenizer()
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    tokenizer["added_tokens"] = [plain | token for token in tokenizer["added_tokens"]]
    split, byte_level = tokenizer["pre_tokenizer"]["pretokenizers"]
    split["invert"] = False
    byte_level["trim_offsets"] = False
    tokenizer |= {"post_processor": byte_level, "decoder": byte_level}
    return tokenizer


def _stored(weights: np.typing.NDArray[np.float32], dtype: str) -> bytes:
    if dtype == "BF16":
        return (weights.view(np.uint32) >> 16).astype("<u2").tobytes()
    return weights.astype({"F16": "<f2", "F32": "<f4"}[dtype]).tobytes()
