"""The rules of rules.yaml: conditions, effects, words, sources. A rule without a source is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from qpipe import yamlbounds
from qpipe.errors import RecipeError
from qpipe.support.files import read_file

RULES = Path(__file__).with_name("rules.yaml")

_MOST_BYTES, _MOST_VALUES, _MOST_DEPTH = 1 << 20, 20_000, 12

Runtime = Literal["llama.cpp", "ollama", "vllm", "exllama", "transformers"]
Device = Literal["cpu", "gpu", "cpu+gpu"]
CardKind = Literal["consumer", "workstation", "datacentre", "unknown"]
Vendor = Literal["nvidia", "amd", "apple", "unknown"]
Goal = Literal["balanced", "quality", "size", "speed"]
Topic = Literal["cpu", "gpu", "server", "runtime", "hardware", "quality", "lever"]


@dataclass(frozen=True)
class Situation:
    """The subject of rules: a format in a runtime on a device. ``capability`` is the compute
    capability of an NVIDIA GPU, None where it is not known or there is no such GPU."""

    runtime: str
    device: str
    method: str
    format: str
    card: str = "unknown"
    vendor: str = "unknown"
    capability: float | None = None
    batch: int = 1
    goal: str = "balanced"


class AdvicePart(BaseModel):
    """Base of what rules.yaml is made of: no unknown fields, frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class RuleSource(AdvicePart):
    """The document that a rule is from; ``table`` names a published table of qpipe's with it."""

    title: str = Field(min_length=1)
    url: str = Field(pattern=r"^https://\S+$")
    version: str | None = None
    date: str | None = None
    table: str | None = None

    @model_validator(mode="after")
    def _dated(self) -> RuleSource:
        if self.version is None and self.date is None:
            raise ValueError("a source has a version or a date")
        return self

    @property
    def when(self) -> str:
        """Its version, else its date."""
        return self.version or self.date or ""


class RuleWords(AdvicePart):
    """The sentence of a rule, in English and in Chinese."""

    en: str = Field(min_length=1)
    zh: str = Field(min_length=1)


class RuleCondition(AdvicePart):
    """When a rule holds: all fields do. ``or_unknown``: also on a GPU that is not known."""

    runtime: tuple[Runtime, ...] = ()
    device: tuple[Device, ...] = ()
    card: tuple[CardKind, ...] = ()
    vendor: tuple[Vendor, ...] = ()
    method: tuple[str, ...] = ()
    not_method: tuple[str, ...] = ()
    format: tuple[str, ...] = ()
    goal: tuple[Goal, ...] = ()
    batch_from: int | None = None
    batch_below: int | None = None
    capability_from: float | None = None
    capability_below: float | None = None
    or_unknown: bool = False

    def holds(self, there: Situation) -> bool:
        """True if a rule with this condition speaks of a situation."""
        names = ("runtime", "device", "card", "vendor", "method", "format", "goal")
        listed = ((getattr(self, name), getattr(there, name)) for name in names)
        return (
            all(not wanted or value in wanted for wanted, value in listed)
            and there.method not in self.not_method
            and _within(there.batch, self.batch_from, self.batch_below)
            and self._of_capability(there)
        )

    def _of_capability(self, there: Situation) -> bool:
        if self.capability_from is None and self.capability_below is None:
            return True
        if there.capability is None:
            return self.or_unknown and there.device != "cpu"
        return _within(there.capability, self.capability_from, self.capability_below)


def _within(value: float, least: float | None, below: float | None) -> bool:
    return (least is None or value >= least) and (below is None or value < below)


class RuleEffect(AdvicePart):
    """The consequence of a rule: exactly one thing, but points and a warning go together."""

    points: int = 0
    leave_out: bool = False
    gives_up: bool = False
    lever: bool = False
    imatrix: bool = False

    @model_validator(mode="after")
    def _one(self) -> RuleEffect:
        named = [name for name in ("leave_out", "lever", "imatrix") if getattr(self, name)]
        if len(named) + bool(self.points or self.gives_up) != 1:
            raise ValueError("a rule has one effect")
        return self


class AdviceRule(AdvicePart):
    """A rule of the field; ``source`` is a name under ``sources``."""

    id: str = Field(pattern=r"^[a-z0-9-]+$")
    topic: Topic
    when: RuleCondition
    effect: RuleEffect
    says: RuleWords
    source: str


class CardGeneration(AdvicePart):
    """Cards of one generation, by regular expressions of their names."""

    name: str
    capability: float | None = None
    card: CardKind
    vendor: Vendor = "nvidia"
    names: tuple[str, ...]


class Assumptions(AdvicePart):
    """Bytes that are left to others: of RAM to the system, of each GPU as a margin."""

    system_memory: int = Field(gt=0)
    gpu_margin: int = Field(gt=0)
    gpu_margin_source: str


class Rulebook(AdvicePart):
    """All of rules.yaml."""

    schema_: Literal[1] = Field(alias="schema")
    sources: Mapping[str, RuleSource]
    rules: tuple[AdviceRule, ...]
    formats: Mapping[Runtime, tuple[str, ...]]
    generations: tuple[CardGeneration, ...]
    generations_source: str
    assumed: Assumptions

    @model_validator(mode="after")
    def _sourced(self) -> Rulebook:
        names = [rule.id for rule in self.rules]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"rules that are there twice: {', '.join(sorted(twice))}")
        asked = {rule.source for rule in self.rules}
        asked |= {self.generations_source, self.assumed.gpu_margin_source}
        if missing := asked - self.sources.keys():
            raise ValueError(f"sources that are not there: {', '.join(sorted(missing))}")
        return self

    def of(self, there: Situation) -> list[AdviceRule]:
        """The rules that hold in a situation, in the order of the file."""
        return [rule for rule in self.rules if rule.when.holds(there)]

    def source(self, rule: AdviceRule) -> RuleSource:
        """The document that a rule is from."""
        return self.sources[rule.source]

    def named(self, names: Sequence[str]) -> list[AdviceRule]:
        """The rules of these names, in the order of the file."""
        return [rule for rule in self.rules if rule.id in names]


@cache
def rulebook(path: Path = RULES) -> Rulebook:
    """Read a file of rules. Raises RecipeError for one that is damaged or has a rule that says no
    source."""
    text = read_file(path, RecipeError, most=_MOST_BYTES)
    try:
        yamlbounds.check(text, most_values=_MOST_VALUES, most_depth=_MOST_DEPTH)
        data: Any = yaml.load(text, Loader=yamlbounds.Loader)
    except (yamlbounds.TooLargeError, yaml.YAMLError) as error:
        raise RecipeError(f"{path}: {error}") from None
    try:
        return Rulebook.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise RecipeError(f"{path}: {where}: {first['msg']}") from None
