"""Checkpoints whose weights are pickles, as transformers 4 and torch.save write them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def llama(*, tied: bool) -> Any:
    """A Llama of a few thousand random weights, in bfloat16."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=tied,
        max_position_embeddings=64,
    )  # fmt: skip
    model: Any = LlamaForCausalLM
    return model(config).to(torch.bfloat16)


def save(folder: Path, model: Any, *, parts: int = 1, legacy: bool = False) -> Path:
    """Write a model's state as ``parts`` pickles; ``legacy``: in the form of torch before 1.6."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    model.config.save_pretrained(folder)
    state: Mapping[str, Any] = model.state_dict()
    zipped = not legacy
    if parts == 1:
        torch.save(state, folder / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
        return folder
    places: dict[str, str] = {}
    for number in range(parts):
        name = f"pytorch_model-{number + 1:05d}-of-{parts:05d}.bin"
        part = dict(list(state.items())[number::parts])
        places |= dict.fromkeys(part, name)
        torch.save(part, folder / name, _use_new_zipfile_serialization=zipped)
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    return folder
