"""One GGUF model of a repository by its type, as ``OWNER/NAME:Q4_K_M`` asks for it.

A file's type is read as the hub reads it for its list of quantizations (huggingface.js,
packages/gguf: ``parseGGUFQuantLabel``): in capitals or not, with ``UD-`` in front, and the last
where a name has several. Like llama.cpp (common/download.cpp: ``find_best_model``) it takes parts
in a folder of the type too. Unlike both, nothing is taken where nobody named a type, or two
models have it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from qpipe.errors import SourceError, nearest

# The names of llama-quantize, those of ik_llama.cpp (IQ4_KS, Q4_K_R4, …), and the sizes that
# publishers add (Q6_K_L, Q4_K_XL).
_TYPE = re.compile(
    r"(?<![A-Z0-9])(UD-)?("
    r"IQ[1-6]_(?:XXS|XS|S|M|NL(?:_[48]_[48])?|KSS|KS|KT|KL|K)"
    r"|Q[1-8]_K(?:_(?:XXL|XL|L|M|S))?"
    r"|Q[1-8]_[01](?:_[48]_[48])?(?:_XL|_L)?"
    r"|TQ[12]_0|MXFP4(?:_MOE)?|NVFP4|BF16|F(?:P)?16|F(?:P)?32"
    r")(_R[48])?(?![A-Z0-9])"
)
_MOST = 12
# llama.cpp (common/download.cpp: gguf_filename_is_model): what lies beside models as GGUF too.
_BESIDE = ("mmproj", "imatrix", "mtp-", "eagle3-", "dflash-", "dspark-")


def is_model(name: str) -> bool:
    """True if a GGUF file of this name is a model, and not its projector of images, an importance
    matrix or a draft head."""
    own = name.rpartition("/")[2]
    return own.endswith(".gguf") and not any(word in own for word in _BESIDE)


def type_of(name: str) -> str | None:
    """The type in the name of a GGUF file, else in that of its folder: Q4_K_M, UD-Q4_K_XL."""
    folder, _, own = name.upper().rpartition("/")
    for text in (own.removesuffix(".GGUF"), folder.rpartition("/")[2]):
        if matches := [*_TYPE.finditer(text)]:
            prefix, kind, repacked = matches[-1].groups(default="")
            return prefix + _usual(kind) + repacked
    return None


def _usual(kind: str) -> str:
    """A type by its usual name: F16 for FP16."""
    return {"FP16": "F16", "FP32": "F32"}.get(kind, kind)


def by_type(models: Collection[str]) -> dict[str, list[str]]:
    """The names of models, each the first of its parts, by their types; those without are left
    out."""
    types: dict[str, list[str]] = {}
    for name in sorted(models):
        if (kind := type_of(name)) is not None:
            types.setdefault(kind, []).append(name)
    return types


def chosen(label: str, repo: str, models: Mapping[str, list[str]], kind: str) -> str:
    """The model of type ``kind`` (in capitals) among the GGUF ``models`` of a repository, each by
    the first of its files.

    A type is taken from its ``UD-`` namesake where there is no other. Raises SourceError where none
    has it, and where several do.
    """
    if not models:
        raise SourceError(
            f"{label}: holds no GGUF model, so none of type {kind}; to make one: "
            f"model.source={repo} quantize.type={kind.removeprefix('UD-')}"
        )
    types = by_type(models)
    kind = _usual(kind)
    names = types.get(kind) or types.get(f"UD-{kind}") or []
    if len(names) == 1:
        return names[0]
    if names:
        raise SourceError(
            f"{label}: {len(names)} of its models are {kind} ({listed(names)}); name the file: "
            f"model.source={repo}/FILE"
        )
    near = nearest(kind, types)
    hint = f" ({near})" if near.startswith("did") else ""
    there = listed([*types]) or f"{listed([*models])}, whose names tell no type: name a file"
    raise SourceError(f"{label}: holds no model of type {kind}{hint}, but {there}")


def listed(names: Collection[str]) -> str:
    """Names in a row, of many the first."""
    shown = sorted(names)
    more = f" and {len(shown) - _MOST} more" if len(shown) > _MOST else ""
    return ", ".join(shown[:_MOST]) + more
