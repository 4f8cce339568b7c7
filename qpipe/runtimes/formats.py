"""Names of formats as people say them, and the section ``quantize`` of a recipe behind each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from qpipe.errors import RecipeError, nearest

GGUF, SAFETENSORS = "gguf", "safetensors"

_FLOATS = {"F32": "fp32", "F16": "fp16", "BF16": "bf16"}
_LLAMA_CPP = "llama.cpp"
# Names of GGUF alone (qpipe/gguf/ftypes.py, whose import takes longer than this answer may): of a
# name that is no name there, the error comes from there.
_GGUF = re.compile(r"(I?Q\d|TQ\d)_?[0-9A-Z_]*|MXFP4_MOE|F32", re.IGNORECASE)
_EXL2 = re.compile(r"exl2[-_ ]?(?P<bits>\d+(\.\d+)?)(bpw)?(-h(?P<head>\d))?", re.IGNORECASE)
_ROUNDED = re.compile(
    r"(?P<method>gptq|awq|rtn)([-_ ]?(?P<bits>[2-8])[-_ ]?bits?)?([-_ ]?g(?P<size>\d+))?",
    re.IGNORECASE,
)

# Method of a packed checkpoint by its plain name, and which runtimes load it.
_PLAIN: Mapping[str, Mapping[str, Any]] = {
    "fp8": {"method": "fp8"},
    "nvfp4": {"method": "nvfp4"},
    "mxfp4": {"method": "mxfp4"},
    "mxfp8": {"method": "mxfp8"},
    "w4afp8": {"method": "w4afp8"},
    "int8": {"method": "int8"},
    "w8a8": {"method": "int8", "scheme": "w8a8", "engine": "llmcompressor"},
    "nf4": {"method": "bnb", "type": "nf4"},
    "fp4": {"method": "bnb", "type": "fp4"},
    "autoround": {"method": "autoround"},
}
# As `PredictedSize.format` names them, with which an answer can be asked about again.
_ALIASES = {
    "fp8-dynamic": "fp8", "nvfp4a16": "nvfp4", "mxfp4a16": "mxfp4", "bnb-nf4": "nf4",
    "bnb-fp4": "fp4", "fp16": "F16", "fp32": "F32", "bfloat16": "BF16", "float16": "F16",
}  # fmt: skip

_VLLM, _TRANSFORMERS, _EXLLAMA = "vllm", "transformers", "exllama"
# Which runtimes load what a method writes. Sources: vLLM 0.32, quantization methods
# (qpipe/evaluators/common/vllm_support.py); transformers 5.17, quantizers/auto.py; exllamav2 0.3.2,
# README: EXL2, and GPTQ of four bits.
_LOADED_BY: Mapping[str, tuple[str, ...]] = {
    "gguf": (_LLAMA_CPP,),
    "none": (_VLLM, _TRANSFORMERS),
    "gptq": (_VLLM, _TRANSFORMERS, _EXLLAMA),
    "awq": (_VLLM, _TRANSFORMERS),
    "rtn": (_VLLM, _TRANSFORMERS),
    "int8": (_VLLM, _TRANSFORMERS),
    "bnb": (_VLLM, _TRANSFORMERS),
    "autoround": (_VLLM, _TRANSFORMERS, _EXLLAMA),
    "exl2": (_EXLLAMA,),
    **dict.fromkeys(("fp8", "nvfp4", "mxfp4", "mxfp8", "w4afp8"), (_VLLM, _TRANSFORMERS)),
}

USUAL = (
    *("Q2_K", "IQ3_XXS", "Q3_K_M", "IQ4_XS", "Q4_0", "Q4_K_S", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0"),
    *("F16", "GPTQ-4bit-g128", "AWQ-4bit-g128", "NF4", "FP8", "NVFP4"),
    *("EXL2-3.0bpw", "EXL2-4.0bpw", "EXL2-5.0bpw", "EXL2-6.0bpw", "BF16"),
)
"""The formats that are shown where none is asked for; BF16 is the checkpoint, F16 a GGUF file."""


@dataclass(frozen=True)
class NamedFormat:
    """A format: its ``name``, the fields of ``quantize`` that make it, and the ``runtimes`` that
    load it. ``files`` is gguf or safetensors."""

    name: str
    quantize: Mapping[str, Any]
    files: str
    runtimes: tuple[str, ...]


def usual(runtime: str) -> list[NamedFormat]:
    """Return those of `USUAL`, what ``runtime`` loads first."""
    shown = [named(name, _LLAMA_CPP if name == "F16" else _VLLM) for name in USUAL]
    return sorted(shown, key=lambda each: runtime not in each.runtimes)


def named(name: str, runtime: str = _LLAMA_CPP) -> NamedFormat:
    """The format called ``name``: of llama-quantize, a method such as ``gptq``, ``awq-8bit-g64``,
    ``exl2-4.5bpw``, ``nf4``. F16 and BF16 are GGUF files for llama.cpp, else checkpoints.

    Raises RecipeError with the nearest names for one that is none.
    """
    plain = name.strip()
    plain = _ALIASES.get(plain.lower(), plain)
    upper, lower = plain.upper(), plain.lower()
    if upper in _FLOATS and (runtime == _LLAMA_CPP or upper == "F32"):
        return _gguf(upper, {"method": "none", "via": upper.lower()})
    if upper in _FLOATS:
        fields = {"method": "none", "dtype": _FLOATS[upper]}
        return NamedFormat(upper, fields, SAFETENSORS, _LOADED_BY["none"])
    if lower in _PLAIN:
        return _packed(plain.upper(), _PLAIN[lower])
    if (match := _EXL2.fullmatch(plain)) is not None:
        head = {"head_bits": int(match["head"])} if match["head"] else {}
        bits = float(match["bits"])
        return _packed(f"EXL2-{bits}bpw", {"method": "exl2", "bits": bits, **head})
    if (match := _ROUNDED.fullmatch(plain)) is not None:
        return _rounded(match)
    if _GGUF.fullmatch(plain):
        from qpipe.gguf.ftypes import file_type

        try:
            return _gguf(file_type(upper).name, {"method": "gguf", "type": file_type(upper).name})
        except RecipeError:
            pass
    hint = nearest(upper, dict.fromkeys(each.upper() for each in _names()), most=40)
    raise RecipeError(f"--type {name}: there is no such format; {hint}")


def _gguf(name: str, fields: Mapping[str, Any]) -> NamedFormat:
    return NamedFormat(name, fields, GGUF, _LOADED_BY["gguf"])


def _packed(name: str, fields: Mapping[str, Any]) -> NamedFormat:
    return NamedFormat(name, fields, SAFETENSORS, _LOADED_BY[str(fields["method"])])


def _rounded(match: re.Match[str]) -> NamedFormat:
    bits, size = int(match["bits"] or 4), int(match["size"] or 128)
    fields = {"method": match["method"].lower(), "bits": bits, "group_size": size}
    return _packed(f"{match['method'].upper()}-{bits}bit-g{size}", fields)


def _names() -> Iterable[str]:
    from qpipe.gguf.ftypes import FILE_TYPES

    return dict.fromkeys((*FILE_TYPES, *USUAL, *(name.upper() for name in _PLAIN), "GPTQ", "AWQ"))


def names() -> list[str]:
    """Names that a shell may offer."""
    return [*_names()]
