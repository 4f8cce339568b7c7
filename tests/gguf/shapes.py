"""GGUF models with all the tensors of big ones and hardly a weight: what the rules look at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np


@dataclass(frozen=True)
class Shape:
    """``row`` weights in each row; ``fused``: query, key and value are one tensor."""

    arch: str
    layers: int
    heads: int
    kv_heads: int
    experts: int = 0
    tied: bool = False
    fused: bool = False
    row: int = 256


SHAPES = {
    "llama-32": Shape("llama", 32, 32, 32),
    "llama-gqa4": Shape("llama", 32, 32, 8),
    "llama-gqa2-tied": Shape("llama", 26, 8, 4, tied=True),
    "llama-80": Shape("llama", 80, 64, 64),
    "llama-80-gqa3": Shape("llama", 80, 12, 4),
    "llama-144": Shape("llama", 9, 8, 8, row=144),
    "llama-96": Shape("llama", 17, 8, 8, row=96),
    "mixtral": Shape("llama", 32, 32, 8, experts=8),
    "llama-4-experts": Shape("llama", 16, 8, 8, experts=4),
    "llama-16-experts-tied": Shape("llama", 24, 8, 8, experts=16, tied=True),
    "qwen2-80": Shape("qwen2", 80, 8, 8),
    "qwen2-gqa7": Shape("qwen2", 28, 28, 4),
    "qwen3-tied": Shape("qwen3", 28, 16, 8, tied=True),
    "qwen3moe": Shape("qwen3moe", 48, 32, 4, experts=8),
    "falcon": Shape("falcon", 40, 71, 1, fused=True),
    "falcon-gqa1": Shape("falcon", 48, 8, 8, fused=True),
    "phi3": Shape("phi3", 32, 32, 32, fused=True),
    "gemma2-tied": Shape("gemma2", 26, 8, 4, tied=True),
}


def write(path: Path, shape: Shape) -> None:
    """A file of that shape, which llama-quantize --dry-run takes."""
    writer = gguf.GGUFWriter(path, shape.arch)
    writer.add_context_length(128)
    writer.add_embedding_length(shape.row)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.row)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_layer_norm_eps(1e-5)
    if shape.arch == "gemma2":
        writer.add_sliding_window(64)
    if shape.experts:
        writer.add_expert_count(shape.experts)
        writer.add_expert_used_count(2)
        writer.add_expert_feed_forward_length(shape.row)
    for name, sizes in _tensors(shape).items():
        dtype = np.float32 if len(sizes) == 1 else np.float16
        writer.add_tensor(name, np.zeros(sizes, dtype))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _tensors(shape: Shape) -> dict[str, tuple[int, ...]]:
    vector, matrix = (shape.row,), (2, shape.row)
    found: dict[str, tuple[int, ...]] = {"token_embd.weight": matrix, "output_norm.weight": vector}
    if not shape.tied:
        found["output.weight"] = matrix
    attention = ["attn_qkv"] if shape.fused else ["attn_q", "attn_k", "attn_v"]
    for layer in range(shape.layers):
        block = f"blk.{layer}"
        found[f"{block}.attn_norm.weight"] = vector
        for name in (*attention, "attn_output"):
            found[f"{block}.{name}.weight"] = matrix
        for name in ("ffn_gate", "ffn_up", "ffn_down"):
            if shape.experts:
                found[f"{block}.{name}_exps.weight"] = (shape.experts, *matrix)
                found[f"{block}.{name}_shexp.weight"] = matrix
            else:
                found[f"{block}.{name}.weight"] = matrix
        if shape.experts:
            found[f"{block}.ffn_gate_inp.weight"] = matrix
    return found
