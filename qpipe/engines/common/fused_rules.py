"""GPTQ's rules for modules under the names by which vLLM looks for them.

vLLM computes some modules as one and asks config.json's ``dynamic`` for the name of the whole alone
(vLLM, layers/quantization/utils/gptq_utils.py, ``get_dynamic_override``): without a rule of that
name it takes all modules' bits, and cannot load the matrices.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from qpipe.mix.module_groups import grouped

FILES = ("quantize_config.json", "config.json")


def exact(name: str) -> str:
    """A module's name as a pattern that matches no other."""
    return "^" + name.replace(".", r"\.") + "$"


def anywhere(name: str) -> str:
    """A module's name as a pattern of auto-round's (0.15.1, utils/common.py, to_standard_regex)."""
    return f".*{re.escape(name)}.*"


def fused(
    dynamic: Mapping[str, Any], modules: Iterable[str], *, spelled: Callable[[str], str] = exact
) -> dict[str, Any]:
    """The rules, and one for each whole whose ``modules`` all have the same; their patterns are
    names as ``spelled``."""
    rules = dict(dynamic)
    for whole, parts in grouped(modules).items():
        for sign in ("+:", "-:"):
            own = [dynamic.get(sign + spelled(name)) for name in parts]
            if parts != [whole] and own[0] is not None and all(each == own[0] for each in own):
                rules[sign + exact(whole)] = own[0]
    return rules


def add(folder: Path, modules: Iterable[str], *, spelled: Callable[[str], str]) -> None:
    """Write the rules of wholes into the files of a GPTQ checkpoint."""
    names = [*modules]
    for path in (folder / name for name in FILES if (folder / name).is_file()):
        fields = json.loads(path.read_bytes())
        quantization = fields.get("quantization_config", fields)
        if quantization.get("dynamic"):
            quantization["dynamic"] = fused(quantization["dynamic"], names, spelled=spelled)
            path.write_text(json.dumps(fields, indent=2, sort_keys=True) + "\n")
