"""The fields of each method's section ``quantize``, so that a typing error is none in silence.

A test compares them with the engines' own parameters.
"""

from __future__ import annotations

from collections.abc import Mapping

_COMMON = ("method", "engine", "device", "allow_requantize")
_PACKED = (*_COMMON, "modules", "target")
_ROUNDED = (*_PACKED, "bits", "group_size")

FIELDS: Mapping[str, frozenset[str]] = {
    method: frozenset(names)
    for method, names in {
        "none": ("method", "via", "dtype"),
        "gguf": (
            *(*_COMMON, "type", "target", "via", "imatrix", "pure", "output_tensor_type"),
            *("token_embedding_type", "tensor_types", "like", "like_digest", "scales", "name"),
            *("pretokenizer", "provenance", "converter", "fallback"),
        ),
        "gptq": (
            *(*_ROUNDED, "desc_act", "sym", "damp_percent", "static_groups", "true_sequential"),
            *("lm_head", "wbits", "groupsize", "act_order"),
        ),
        "awq": (
            *(*_ROUNDED, "zero_point", "version", "w_bit", "q_group_size"),
            "modules_to_not_convert",
        ),
        "rtn": (*_ROUNDED, "sym", "wbits", "groupsize"),
        "int8": (*_PACKED, "scheme", "smoothing_strength"),
        "bnb": (
            *(*_PACKED, "type", "double_quant", "compute_dtype", "threshold"),
            *("bnb_4bit_quant_type", "bnb_4bit_use_double_quant", "bnb_4bit_compute_dtype"),
            *("llm_int8_threshold", "llm_int8_skip_modules"),
        ),
        "autoround": (*_ROUNDED, "sym", "iters", "batch_size", "seed", "format"),
        "exl2": (*_PACKED, "bits", "head_bits", "measurement", "bpw"),
        **dict.fromkeys(
            ("fp8", "nvfp4", "mxfp4", "mxfp8"),
            (*_PACKED, "scheme", "kv_cache", "iters", "batch_size", "seed"),
        ),
        "w4afp8": (*_PACKED, "scheme", "kv_cache"),
    }.items()
}
"""By method: other tools' spellings too."""
