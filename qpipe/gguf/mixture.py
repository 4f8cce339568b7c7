"""Which type each tensor gets under a quantization name.

Source of every rule: llama.cpp, src/llama-quant.cpp, functions named at each step.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from qpipe import errors
from qpipe.gguf import types
from qpipe.gguf.ftypes import FileType
from qpipe.gguf.reader import Tensor
from qpipe.gguf.types import GGMLType

# tensor_allows_quantization: parts of names that stay as they are, whatever is asked.
_KEPT = (
    "_norm.weight",
    "ffn_gate_inp.weight",
    "ssm_conv1d",
    "shortconv.conv.weight",
    "attn_rel_b.weight",
    "position_embd",
    "token_types",
)

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


def choose(
    tensors: Iterable[Tensor], ftype: FileType, rules: Iterable[Override] = ()
) -> dict[str, GGMLType]:
    """The type of each tensor by name; of several matching ``rules`` the last one counts.

    Raises `RecipeError` for a rule that no quantizable tensor matches: it is a typing error.
    """
    listed = list(tensors)
    rules = list(rules)
    tied = all(tensor.name != "output.weight" for tensor in listed)
    used: set[str] = set()
    chosen = {}
    for tensor in listed:
        chosen[tensor.name] = tensor.type
        if quantizable(tensor):
            matching = [rule for rule in rules if rule[0].search(tensor.name)]
            used |= {pattern.pattern for pattern, _ in matching}
            wanted = matching[-1][1] if matching else _standard(tensor, ftype, tied=tied)
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


def _standard(tensor: Tensor, ftype: FileType, *, tied: bool) -> GGMLType:
    """The rule of the name itself (llama_tensor_get_type_impl)."""
    output = tensor.name == "output.weight" or (tied and _is_embedding(tensor))
    if not (ftype.quantized and output):
        return ftype.default
    if ftype.default == GGMLType.Q8_0 or not ftype.default.fits(tensor.shape[-1]):
        return GGMLType.Q8_0
    return GGMLType.Q6_K


def _is_embedding(tensor: Tensor) -> bool:
    return tensor.name in ("token_embd.weight", "per_layer_token_embd.weight")
