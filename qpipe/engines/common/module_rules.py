"""Rules for single modules: a regular expression on module names → other bits, group, or none.

As with the tensor types of GGUF, a pattern is searched anywhere in a name and the last rule that
matches wins. Engines are given the outcome (`resolve`), never the patterns: each of them has other
ideas of what a pattern is, and of which one wins.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, model_validator

from qpipe.errors import RecipeError
from qpipe.stages.base import Params

SKIP = "skip"

# What every engine leaves as it is, and other tools' lists of modules to skip name to be safe: in
# many models there is no such module. Routers too: `qpipe.engines.common.output_check`.
_STAYING = (
    "lm_head", "model.embed_tokens", "embed_out", "embed_in", "wte", "output_layer",
    "model.visual", "model.vision_tower", "vision_model", "multi_modal_projector",
    "mm_projector", "model.audio_tower", "mlp.gate", "mlp.router", "block_sparse_moe.gate",
    "shared_expert_gate", "mtp.fc", "classifier", "score",
)  # fmt: skip

# Groups whose packed rows every runtime can read; -1 is one group for the whole row.
GROUPS = (-1, 16, 32, 64, 128, 256, 512, 1024)


def known_group(size: int) -> int:
    """A group size that formats know. Raises ValueError."""
    if size not in GROUPS:
        raise ValueError(
            f"{size} is no group size; there is -1 (the whole row), "
            + ", ".join(str(each) for each in GROUPS[1:])
        )
    return size


class ModuleRule(Params):
    """The settings that differ for a module."""

    bits: int | None = Field(
        None, ge=2, le=8, description="Bits of a weight. null: as for all others."
    )
    group_size: int | None = Field(
        None, description="Weights in a row that share a scale. null: as for all others."
    )
    skip: bool = Field(False, description="true: leave the module as it is.")

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        """``skip`` and a number of bits need no mapping around them."""
        if value == SKIP:
            return {"skip": True}
        return {"bits": value} if isinstance(value, int) and not isinstance(value, bool) else value

    @model_validator(mode="after")
    def _says_something(self) -> ModuleRule:
        if self.group_size is not None:
            known_group(self.group_size)
        if self.skip == bool(self.wishes):
            raise ValueError("a rule for modules says either `skip`, or bits and/or group_size")
        return self

    @property
    def wishes(self) -> dict[str, int]:
        """The settings that differ."""
        settings = {"bits": self.bits, "group_size": self.group_size}
        return {name: value for name, value in settings.items() if value is not None}


def skipping(names: object) -> dict[str, str]:
    """Rules that skip every module whose name holds one of these, as other tools' lists do.

    One name is a list of one. Raises ValueError for what is neither.
    """
    listed = [names] if isinstance(names, str) else names
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise ValueError(f"{names!r} is no list of module names: write it as [NAME, …]")
    return {re.escape(name): SKIP for name in listed}


def pairs(value: object) -> object:
    """Rules of a recipe or of parameters as a mapping; what is neither is left to be refused."""
    # null in recipes: Hydra lets an override fill that, but adds no keys to an empty mapping.
    if value is None:
        return {}
    # A text would be taken for a pair, letter by letter.
    if isinstance(value, list) and all(isinstance(e, (list, tuple)) and len(e) == 2 for e in value):
        return dict(value)
    return value


def _regular(rules: dict[str, ModuleRule]) -> dict[str, ModuleRule]:
    for pattern in rules:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
    return rules


def _as_pairs(rules: Mapping[str, ModuleRule]) -> list[list[Any]]:
    return [[pattern, rule.model_dump(mode="json")] for pattern, rule in rules.items()]


# Rules as [pattern, rule] pairs in parameters: their order counts, and keys sort mappings.
ModuleRules = Annotated[
    dict[str, ModuleRule],
    BeforeValidator(pairs),
    AfterValidator(_regular),
    PlainSerializer(_as_pairs, list[list[Any]]),
]


def resolve(rules: Mapping[str, ModuleRule], modules: Iterable[str]) -> dict[str, ModuleRule]:
    """The rule of each module that has one.

    Raises RecipeError for a pattern without effect, but for skipping what stays as it is in any
    model; and for rules that leave nothing to quantize.
    """
    names = list(modules)
    by_module: dict[str, ModuleRule] = {}
    last: dict[str, str] = {}
    for pattern, rule in rules.items():
        matching = [name for name in names if re.search(pattern, name)]
        if not matching and not (rule.skip and any(re.search(pattern, n) for n in _STAYING)):
            raise RecipeError(
                f"quantize.modules: {pattern!r} matches none of the {len(names)} modules that can "
                f"be quantized, such as {names[0]}"
            )
        by_module.update(dict.fromkeys(matching, rule))
        last.update(dict.fromkeys(matching, pattern))
    for pattern, rule in rules.items():
        matching = [name for name in names if re.search(pattern, name)]
        if matching and all(by_module[name] != rule for name in matching):
            raise RecipeError(
                f"quantize.modules: {pattern!r} has no effect: {last[matching[0]]!r} and what else "
                "comes later take all modules that it matches; drop it, or put it behind them"
            )
    if names and all(name in by_module and by_module[name].skip for name in names):
        raise RecipeError(
            f"quantize.modules leaves none of the {len(names)} modules to quantize: take a rule "
            "out, or use quantize=none"
        )
    return by_module
