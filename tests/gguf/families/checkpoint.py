"""Checkpoints of the families: what transformers saves, and the same files without it.

`drawn` asks transformers for the config and the tensors; `write` makes the checkpoint of these,
with weights from numpy's RandomState, whose stream is frozen for good.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from qpipe.gguf import safetensors
from qpipe.gguf.vocab import pretokenizers, splitting_rules
from tests.gguf import samples
from tests.gguf.families.sizes import BEGIN, ENDOFTEXT
from tests.gguf.families.table import Family
from tests.gguf.test_gguf_vocab import bpe_tokenizer

SPLITS = {name: rules for rules, names in splitting_rules.NAMES.items() for name in names}


@dataclass(frozen=True)
class Stored:
    """A tensor of a checkpoint, in BF16; ``centre`` is what its weights lie around."""

    name: str
    shape: tuple[int, ...]
    centre: float


def drawn(family: Family) -> tuple[dict[str, Any], list[Stored]]:
    """config.json and the tensors that transformers saves of a new model."""
    import torch
    import transformers

    torch.manual_seed(0)
    stand_in = ("LlamaForCausalLM", "llama")
    name, kind = (family.model_class, family.model_type) if family.transformers else stand_in
    config = transformers.AutoConfig.for_model(kind, **family.config)
    model: Any = getattr(transformers, name)(config).to(torch.bfloat16)
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model.save_pretrained(folder, save_original_format=not family.fused)
        fields = json.loads((folder / "config.json").read_text())
        stored = list(_stored(folder / "model.safetensors"))
    if not family.transformers:
        norms = [one for one in stored if one.name.endswith("norm.weight")]
        stored += [Stored(n.name.replace("weight", "bias"), n.shape, 0.0) for n in norms]
        fields |= {"architectures": [family.model_class], "model_type": family.model_type}
    stored += [
        Stored(name, shape, 1.0 if name.endswith("norm.weight") else 0.0)
        for name, shape in family.further.items()
    ]
    return {**fields, **family.published}, stored


def _stored(path: Path) -> Iterable[Stored]:
    from safetensors.torch import load_file

    values = load_file(path)
    for name, tensor in safetensors.read_header(path).items():
        value = values[name].float()
        constant = (
            value.ndim < 2 and value.numel() > 0 and bool((value == value.flatten()[0]).all())
        )
        yield Stored(name, tensor.shape, float(value.flatten()[0]) if constant else 0.0)


def write(
    folder: Path, family: Family, fields: Mapping[str, Any], tensors: Iterable[Stored]
) -> Path:
    """A checkpoint in ``folder``, with a small tokenizer of the kind that the family has."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(fields, indent=1))
    tiny = samples.MODELS["tinystories-d256"]
    if family.tokenizer in ("spm", "pieces"):
        shutil.copy(tiny / "tokenizer_config.json", folder)
    if family.tokenizer == "spm":
        shutil.copy(tiny / "tokenizer.model", folder)
        shutil.copy(tiny / "tokenizer.json", folder)
    elif family.tokenizer == "pieces":
        pieces = json.loads((tiny / "tokenizer.json").read_text())
        spaces = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
        (folder / "tokenizer.json").write_text(json.dumps(pieces | {"normalizer": spaces}))
    else:
        named = {"eos_token": ENDOFTEXT, "tokenizer_class": family.tokenizer_class}
        if family.tokenizer in pretokenizers.ADD_BOS:
            named["bos_token"] = BEGIN
        (folder / "tokenizer_config.json").write_text(json.dumps(named))
        (folder / "tokenizer.json").write_text(json.dumps(_bpe(family)))
    random = np.random.RandomState(7)
    made = {}
    for one in tensors:
        bits = _weights(random, one).astype(np.float32).view(np.uint32) >> 16
        made[one.name] = ("BF16", one.shape, bits.astype("<u2").tobytes())
    samples.write_safetensors(folder / "model.safetensors", made)
    return folder


def _weights(random: np.random.RandomState, stored: Stored) -> npt.NDArray[np.float64]:
    """Weights by which attention is sharp and logits are of some size."""
    values: npt.NDArray[np.float64] = random.standard_normal(stored.shape)
    if len(stored.shape) < 2:
        return values * 0.2 + stored.centre
    outer = {"embed_tokens": 1.0, "lm_head": 1.5}
    name = stored.name.removesuffix(".weight").split(".")[-1]
    return values * outer.get(name, 2.0 / math.sqrt(stored.shape[-1]))


def _bpe(family: Family) -> dict[str, Any]:
    """The small tokenizer, with the family's rule and every field that tokenizers insists on."""
    tokenizer = bpe_tokenizer()
    steps: list[dict[str, Any]] = []
    rules = SPLITS[family.tokenizer]
    for rule in rules:
        if rule == splitting_rules.DIGITS:
            steps.append({"type": "Digits", "individual_digits": True})
        elif rule != splitting_rules.GPT2:
            split = {"pattern": {"Regex": rule}, "behavior": "Isolated", "invert": False}
            steps.append({"type": "Split", **split})
    byte_level = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": False,
        "use_regex": splitting_rules.GPT2 in rules,
    }
    tokenizer["model"]["ignore_merges"] = family.tokenizer in splitting_rules.IGNORE_MERGES
    further = [*family.tokens, *([BEGIN] if family.tokenizer in pretokenizers.ADD_BOS else [])]
    added = [{"id": 260 + i, "content": token, "special": True} for i, token in enumerate(further)]
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    tokenizer["added_tokens"] = [plain | token for token in tokenizer["added_tokens"] + added]
    # Of a post-processor ByteLevel gguf-py 0.94.0 writes nothing, later ones that no BOS is added.
    tokenizer["post_processor"] = _framed(259 + len(further)) if BEGIN in further else None
    tokenizer |= {
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [*steps, byte_level]},
        "decoder": byte_level | {"use_regex": True},
    }
    return tokenizer


def _framed(begin: int) -> dict[str, Any]:
    """The post-processor that puts the token ``begin`` in front."""
    token, text = {"SpecialToken": {"id": BEGIN, "type_id": 0}}, {"id": "A", "type_id": 0}
    return {
        "type": "TemplateProcessing",
        "single": [token, {"Sequence": text}],
        "pair": [token, {"Sequence": text}, token | {}, {"Sequence": text | {"id": "B"}}],
        "special_tokens": {BEGIN: {"id": BEGIN, "ids": [begin], "tokens": [BEGIN]}},
    }
