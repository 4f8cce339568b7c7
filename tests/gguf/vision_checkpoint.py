"""A small Gemma 3 that sees, under the names by which it was published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.gguf.arch_checkpoints import (
    HIDDEN,
    LAYERS,
    VOCAB,
    attention,
    config,
    feed_forward,
    write,
)

CLASS = "Gemma3ForConditionalGeneration"
WIDTH, PATCH, PATCHES = 64, 14, 4
TEXT = {
    key: value
    for key, value in config(
        "", "gemma3_text", head_dim=64, sliding_window=64, sliding_window_pattern=6,
        query_pre_attn_scalar=64, rope_theta=1e6, rope_local_base_freq=1e4,
        hidden_activation="gelu_pytorch_tanh",
    ).items()
    if key != "architectures"
}  # fmt: skip
FIELDS = {
    "architectures": [CLASS],
    "model_type": "gemma3",
    "text_config": TEXT,
    "vision_config": {
        "model_type": "siglip_vision_model", "hidden_size": WIDTH, "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": PATCHES * PATCH,
        "patch_size": PATCH,
    },
    "mm_tokens_per_image": 4,
}  # fmt: skip
_NORMS = ("input", "post_attention", "pre_feedforward", "post_feedforward")


def checkpoint(folder: Path, **more: tuple[int, ...]) -> Path:
    """Write it, with ``more`` tensors of these shapes."""
    layer = attention(64, norms=True) | feed_forward()
    layer |= {f"{name}_layernorm.weight": (HIDDEN,) for name in _NORMS}
    shapes = {
        "language_model.model.embed_tokens.weight": (VOCAB, HIDDEN),
        "language_model.model.norm.weight": (HIDDEN,),
        "multi_modal_projector.mm_input_projection_weight": (WIDTH, HIDDEN),
        "multi_modal_projector.mm_soft_emb_norm.weight": (WIDTH,),
    }
    for i in range(LAYERS):
        shapes |= {f"language_model.model.layers.{i}.{name}": s for name, s in layer.items()}
    shapes |= {f"vision_tower.vision_model.{name}": shape for name, shape in _tower().items()}
    write(folder, FIELDS, shapes | more)
    processor: dict[str, Any] = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


def _tower() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.patch_embedding.weight": (WIDTH, 3, PATCH, PATCH),
        "embeddings.patch_embedding.bias": (WIDTH,),
        "embeddings.position_embedding.weight": (PATCHES**2, WIDTH),
    }
    matrices = {f"self_attn.{name}_proj": (WIDTH, WIDTH) for name in ("q", "k", "v", "out")}
    matrices |= {"mlp.fc1": (2 * WIDTH, WIDTH), "mlp.fc2": (WIDTH, 2 * WIDTH)}
    norms = [f"encoder.layers.{i}.layer_norm{n}" for i in range(2) for n in (1, 2)]
    for i in range(2):
        for name, shape in matrices.items():
            shapes[f"encoder.layers.{i}.{name}.weight"] = shape
            shapes[f"encoder.layers.{i}.{name}.bias"] = shape[:1]
    for norm in [*norms, "post_layernorm"]:
        shapes |= {f"{norm}.weight": (WIDTH,), f"{norm}.bias": (WIDTH,)}
    return shapes
