"""What the parameters of all methods have in common: spellings, rules for modules, a target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, TypeAlias

from pydantic import Field, field_validator, model_validator

from qpipe.engines.common.module_rules import ModuleRule, ModuleRules, pairs, skipping
from qpipe.mix.target import MixTarget
from qpipe.stages.base import UnkeyedDefault
from qpipe.stages.device import DeviceParams
from qpipe.stages.engine import EngineParams

# Of a mix whose target does not say them.
_MIXED_BITS = 4.25

Spellings: TypeAlias = "tuple[tuple[str, str], ...]"
"""Others' names for fields, and the fields."""


class MethodParams(EngineParams, DeviceParams):
    """Base of all: ``SPELLINGS`` are others' names for fields, ``SKIP_LISTS`` others' lists of
    modules to leave alone, ``RULES`` is what rules for single modules may say."""

    SPELLINGS: ClassVar[Spellings] = ()
    SKIP_LISTS: ClassVar[tuple[str, ...]] = ()
    RULES: ClassVar[tuple[str, ...]] = ()

    modules: ModuleRules = Field(
        default_factory=dict,
        description=(
            "Rules for single modules: {REGEX: skip} or {REGEX: {bits: 8, group_size: 32}}; the "
            "last that matches wins. Some engines can only skip."
        ),
    )

    @model_validator(mode="before")
    @classmethod
    def _in_our_words(cls, settings: Any) -> Any:
        """Others' spellings become ours; null means not given: the engine's own default."""
        if not isinstance(settings, Mapping):
            return settings
        settings = _without_target(cls, settings)
        foreign = (*(name for name, _ in cls.SPELLINGS), *cls.SKIP_LISTS)
        fields = {
            name: value
            for name, value in settings.items()
            if name not in foreign and (value is not None or name not in cls.model_fields)
        }
        for name, field in cls.SPELLINGS:
            if settings.get(name) is not None:
                _agree(
                    name, settings[name], field, fields.get(field), cls.model_fields[field].default
                )
                fields[field] = settings[name]
        for name in cls.SKIP_LISTS:
            if settings.get(name):
                own = pairs(fields.get("modules"))
                if isinstance(own, Mapping):
                    fields["modules"] = [*own.items(), *skipping(settings[name]).items()]
        return fields

    @field_validator("modules")
    @classmethod
    def _can_be_followed(cls, rules: dict[str, ModuleRule]) -> dict[str, ModuleRule]:
        for pattern, rule in rules.items():
            for wish in ["skip"] if rule.skip else rule.wishes:
                if wish not in cls.RULES:
                    raise ValueError(
                        f"quantize.modules: {pattern!r} sets {wish}; engine "
                        f"{cls.model_fields['engine'].default} can set {_able(cls.RULES)} for "
                        "single modules: take the rule out, or choose another engine"
                    )
        return rules


class MixedParams(MethodParams):
    """Base of methods in which modules can have bits and groups of their own.

    ``MIXED_BITS`` are those that an engine can mix.
    """

    MIXED_BITS: ClassVar[tuple[int, ...]] = (2, 3, 4, 8)

    target: Annotated[MixTarget | None, UnkeyedDefault()] = Field(
        None,
        description=(
            "What a mix of bits and groups has to keep: {size: 3.5GB}, {bpw: 4.25}, {kld: 0.01} or "
            "{memory: 8GB, ctx: 32768}, or several of them. Each module gets those with which the "
            "model loses least, by what the stage sensitivity measured; `modules` goes before it. "
            "null: all have `bits` and `group_size`."
        ),
    )

    @model_validator(mode="after")
    def _one_says_the_bits(self) -> Any:
        if self.target is None:
            return self
        if not {"bits", "group_size"} <= {*self.RULES}:
            raise ValueError(
                f"quantize.target: engine {self.engine} gives all modules the same bits and "
                "groups; set quantize.engine to one that can give each its own (gptqmodel of "
                "quantize=gptq), or take quantize=autoround"
            )
        for name in ("bits", "group_size", "lm_head"):
            value, usual = getattr(self, name, None), type(self).model_fields.get(name)
            if usual is not None and value != usual.default:
                raise ValueError(
                    f"quantize.{name} is {value}, and target chooses bits and groups, of all but "
                    f"the output matrix: leave {name} out"
                )
        return self

    def can_mix(self, bits: int, group_size: int, shapes: Sequence[tuple[int, int]]) -> bool:
        """True if the engine can give matrices of (rows, columns) so many bits, in such groups."""
        fits = all(group_size == -1 or columns % group_size == 0 for _, columns in shapes)
        return bits in self.MIXED_BITS and fits

    def _mixed(self) -> float | None:
        """About the bits of a weight with a target; None without."""
        return None if self.target is None else self.target.bpw or _MIXED_BITS


def _able(rules: tuple[str, ...]) -> str:
    return f"only {' and '.join(rules)}" if rules else "nothing"


def _agree(spelling: str, value: object, field: str, current: object, default: object) -> None:
    if current not in (None, value, default):
        raise ValueError(
            f"quantize.{spelling}={value} and quantize.{field}={current} are two spellings of one "
            "setting; keep one of them"
        )


def _without_target(params: type[MethodParams], settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """A recipe's settings without a target that is null, of a method that has none. Raises
    ValueError for one that is given."""
    if "target" in params.model_fields or "target" not in settings:
        return settings
    if settings["target"] is not None:
        method = params.model_fields["method"].default
        raise ValueError(
            f"quantize.target: {method} has one form for all modules, and no budget to share out; "
            "take quantize=gptq or quantize=autoround, which give each module bits of its own, or "
            "quantize=gguf"
        )
    return {name: value for name, value in settings.items() if name != "target"}
