"""Which type each tensor gets under a quantization name.

Source of every rule: llama.cpp, src/llama-quant.cpp, functions named at each step.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from qpipe import errors
from qpipe.gguf import types
from qpipe.gguf.ftypes import FileType
from qpipe.gguf.reader import GGUFFile, Tensor
from qpipe.gguf.types import GGMLType

# tensor_allows_quantization: parts of names that stay as they are, whatever is asked.
_KEPT = (
    *("_norm.weight", "ffn_gate_inp.weight", "ffn_gate_tid2eid.weight"),
    *("altup", "laurel", "per_layer_model_proj", "position_embd", "token_types"),
    *("ssm_conv1d", "shortconv.conv.weight", "attn_rel_b.weight"),
    *("indexer.k_proj.weight", "indexer.q_proj.weight"),
    *(
        f"time_mix_{part}.weight"
        for part in ["first", "w0", "w1", "w2", "v0", "v1", "v2", "a0", "a1", "a2", "g1", "g2"]
    ),
    *(f"time_mix_{part}.weight" for part in ("decay_w1", "decay_w2", "lerp_fused")),
    *("sam.pos_embd", "sam.neck.", "sam.net_", ".rel_pos", ".patch_embd", ".patch_merger"),
    *("a.rvq.codebook", "mm.a.code_embd"),
)

# tensor_get_category: token embeddings; what makes values and keys in the attention.
_EMBEDDINGS = ("token_embd.weight", "per_layer_token_embd.weight")
_VALUES = ("attn_qkv.weight", "attn_kv_b.weight", "attn_v.weight")
_KEYS = ("attn_k.weight",)

# tensor_type_fallback: where a row is no multiple of 256, the type with blocks of 32.
_FALLBACKS = {
    GGMLType.Q2_K: GGMLType.Q4_0,
    GGMLType.Q3_K: GGMLType.Q4_0,
    GGMLType.Q4_K: GGMLType.Q5_0,
    GGMLType.Q5_K: GGMLType.Q5_1,
    GGMLType.Q6_K: GGMLType.Q8_0,
    GGMLType.TQ1_0: GGMLType.Q4_0,
    GGMLType.TQ2_0: GGMLType.Q4_0,
    GGMLType.IQ3_S: GGMLType.IQ4_NL,
    GGMLType.IQ4_XS: GGMLType.IQ4_NL,
}

Override = tuple[re.Pattern[str], GGMLType]


def overrides(tensor_types: Mapping[str, str]) -> list[Override]:
    """A recipe's {regular expression: type}, checked; `RecipeError` for either half."""
    checked = []
    for pattern, name in tensor_types.items():
        where = f"tensor_types[{pattern!r}]"
        try:
            compiled = re.compile(pattern)
        except re.error as error:
            raise errors.RecipeError(f"{where}: no regular expression: {error}") from None
        checked.append((compiled, types.parse_type(name, where=where)))
    return checked


@dataclass(frozen=True)
class Model:
    """What the rules look at beside the tensor itself."""

    arch: str
    n_expert: int
    tied: bool

    @classmethod
    def of(cls, file: GGUFFile) -> Model:
        """Read from the metadata and tensor names of ``file``."""
        experts = f"{file.architecture}.expert_count"
        n_expert = file.value(experts) if experts in file.metadata else 0
        return cls(file.architecture, int(str(n_expert)), "output.weight" not in file.tensors)


def choose(
    tensors: Iterable[Tensor], ftype: FileType, model: Model, rules: Iterable[Override] = ()
) -> dict[str, GGMLType]:
    """The type of each tensor by name; of several matching ``rules`` the last one counts.

    Raises `RecipeError` for a rule that no quantizable tensor matches: it is a typing error.
    """
    rules = list(rules)
    used: set[str] = set()
    chosen = {}
    for tensor in tensors:
        chosen[tensor.name] = tensor.type
        if quantizable(tensor):
            matching = [rule for rule in rules if rule[0].search(tensor.name)]
            used |= {pattern.pattern for pattern, _ in matching}
            wanted = matching[-1][1] if matching else _standard(tensor, ftype, model)
            chosen[tensor.name] = fallback(wanted, tensor.shape[-1])
    for pattern, _ in rules:
        if pattern.pattern not in used:
            raise errors.RecipeError(
                f"tensor_types[{pattern.pattern!r}] matches no tensor that can be quantized; "
                "names look like 'blk.0.ffn_down.weight' (qpipe inspect lists them)"
            )
    return chosen


def quantizable(tensor: Tensor) -> bool:
    """Whether a quantization name applies to this tensor (tensor_allows_quantization)."""
    return (
        len(tensor.shape) >= 2
        and tensor.name.endswith("weight")
        and not any(part in tensor.name for part in _KEPT)
    )


def fallback(wanted: GGMLType, n_per_row: int) -> GGMLType:
    """``wanted``, or what takes its place in rows of this length (tensor_type_fallback)."""
    if wanted.fits(n_per_row):
        return wanted
    smaller = _FALLBACKS.get(wanted, wanted)
    return smaller if smaller.fits(n_per_row) else GGMLType.F16


def _standard(tensor: Tensor, ftype: FileType, model: Model) -> GGMLType:
    """The rule of the name itself (llama_tensor_get_type_impl)."""
    if not ftype.quantized:
        return ftype.default
    if tensor.name == "output.weight" or (model.tied and tensor.name in _EMBEDDINGS):
        fits = ftype.default.fits(tensor.shape[-1])
        if model.arch == "falcon" or ftype.default == GGMLType.Q8_0 or not fits:
            return GGMLType.Q8_0
        return GGMLType.Q6_K
    if model.n_expert == 8 and any(part in tensor.name for part in (*_VALUES, *_KEYS)):
        return GGMLType.Q8_0
    return ftype.default
