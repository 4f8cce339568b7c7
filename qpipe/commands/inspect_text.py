"""What a checkpoint holds, as tables for people."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from qpipe.report import numbers, text

_LONGEST = 400
"""Characters of a value that are shown; --json has all of them."""


def summary(description: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return names and values that describe the checkpoint as a whole."""
    size = description["file_bytes"]
    shown = {
        "path": description["path"],
        "format": description["format"],
        "architecture": _if(description["architecture"], _line),
        "type": _if(description["file_type"], _line),
        "parameters": _if(description["parameters"], numbers.count),
        "tensors": f"{len(description['tensors']):,}, {numbers.size(description['tensor_bytes'])}",
        "file size": f"{numbers.size(size)} ({size:,} bytes)",
        "bits per weight": _if(description["bits_per_weight"], lambda bpw: f"{bpw:.4f}"),
        **_quantization(description["quantization"]),
        "context length": _if(description["context_length"], numbers.count),
        "tokenizer": _if(description["tokenizer"], _inline),
        "provenance": _if(description["provenance"] or None, _inline),
        **({"note": "\n".join(description["notes"])} if description["notes"] else {}),
    }
    return [(name, "unknown" if value is None else str(value)) for name, value in shown.items()]


def _quantization(packed: Mapping[str, Any] | None) -> dict[str, str]:
    if packed is None:
        return {}
    if "unread" in packed:
        return {"quantized": f"{packed['unread']}, which qpipe does not read"}
    if not packed["modules"]:
        return {"quantized": f"{packed['method']}, no matrix is packed"}
    groups = [_group(size) for size in packed["group_sizes"]]
    tool, matrices = packed["tool"], packed["modules"] + len(packed["kept"])
    each = f"{_listed(packed['bits'])} bits" + (f", {_listed(groups)}" if groups else "")
    return {
        "quantized": f"{packed['method']}, {each}" + (f"; by {tool}" if tool else ""),
        "packed": f"{packed['modules']} of {matrices} matrices, "
        f"{numbers.count(packed['weights'])} weights, "
        f"{packed['bits_per_weight']:.4f} bits each with scales and zero points",
        "not packed": _listed(packed["kept"][:4])
        + (f" and {len(packed['kept']) - 4} more" if len(packed["kept"]) > 4 else ""),
    }


def _group(size: int) -> str:
    return "a scale a row" if size == -1 else f"groups of {size}"


def _listed(values: Sequence[object]) -> str:
    return ", ".join(map(str, values)) or "no matrix"


def _if(value: Any, show: Any) -> str | None:
    return None if value is None else str(show(value))


def _inline(values: Mapping[str, Any]) -> str:
    return "\n".join(f"{_line(name)}: {_line(value)}" for name, value in values.items())


def _line(value: Any) -> str:
    """A value from a file on one line, whatever it is, and cut if it is long."""
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    shown = text.printable(shown[: _LONGEST + 1])
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"


def types(types: Mapping[str, Mapping[str, int]]) -> str:
    """Return a table of the types, a line each."""
    rows = [
        [
            name,
            f"{of['tensors']:,}",
            f"{of['parameters']:,}",
            numbers.size(of["bytes"]),
            f"{of['bytes'] * 8 / of['parameters']:.4f}" if of["parameters"] else "",
        ]
        for name, of in types.items()
    ]
    return text.table(("TYPE", "TENSORS", "PARAMETERS", "SIZE", "BITS EACH"), rows, right="lrrrr")


def tensors(tensors: list[dict[str, Any]]) -> str:
    """Return a table of the tensors, a line each, with their relative errors if any is known."""
    known = any(t.get("error") is not None for t in tensors)
    rows = [
        [
            *(t["name"], t["type"], " × ".join(map(str, t["shape"])), numbers.size(t["bytes"])),
            *([_error(t["error"])] if known else []),
        ]
        for t in tensors
    ]
    head = ("TENSOR", "TYPE", "SHAPE", "SIZE", *(["ERROR"] if known else []))
    return text.table(head, rows, right="lllr" + "r" * known)


_UNKNOWN_ERRORS = (
    "The errors of its tensors are not noted: an older qpipe made it, or a tool that does not tell."
)


def errors(tensors: Sequence[Mapping[str, Any]], made_by: Mapping[str, Any] | None) -> str:
    """Return a table of the tensors' relative errors, a line for each kind, the worst first; where
    none is known a sentence on it, or nothing for what is no quantized GGUF artifact."""
    kinds: dict[str, list[Mapping[str, Any]]] = {}
    for tensor in tensors:
        if tensor.get("error") is not None:
            kinds.setdefault(re.sub(r"\.\d+\.", ".*.", tensor["name"], count=1), []).append(tensor)
    worst = {kind: max(of, key=lambda each: each["error"]) for kind, of in kinds.items()}
    rows = [
        [
            *(kind, ", ".join(dict.fromkeys(each["type"] for each in of)), str(len(of))),
            _error(math.sqrt(sum(each["error"] ** 2 for each in of) / len(of))),
            *(_error(worst[kind]["error"]), worst[kind]["name"]),
        ]
        for kind, of in sorted(kinds.items(), key=lambda item: -worst[item[0]]["error"])
    ]
    head = ("ERROR ‖q − x‖ ÷ ‖x‖ OF", "TYPES", "TENSORS", "RMS", "WORST", "WHICH IS")
    if rows:
        return text.table(head, rows, right="llrrrl")
    quantized = made_by is not None and made_by.get("params", {}).get("method") == "gguf"
    return _UNKNOWN_ERRORS if quantized else ""


def rules(settings: Mapping[str, Any]) -> str:
    """Return the types of a file as a part of a recipe."""
    lines = [f"    - ['{pattern}', {kind}]" for pattern, kind in settings["tensor_types"]]
    return "\n".join(["quantize:", f"  type: {settings['type']}", "  tensor_types:", *lines])


def _error(value: float | None) -> str:
    return "" if value is None else f"{value:.2%}"


def origin(made_by: Mapping[str, Any]) -> str:
    """Return the artifact, stage and inputs that made a checkpoint, in a few lines."""
    if "problem" in made_by:
        return str(made_by["problem"])
    inputs = {role: f"{i['name']} {i['key'][:12]}" for role, i in made_by["inputs"].items()}
    return "\n".join(
        [
            f"{made_by['name']}, artifact {made_by['key'][:12]} (stage {made_by['stage']})",
            f"parameters: {json.dumps(made_by['params'], ensure_ascii=False)}",
            f"engine: {json.dumps(made_by['engine'], ensure_ascii=False)}",
            *(f"{role}: {source}" for role, source in inputs.items()),
        ]
    )
