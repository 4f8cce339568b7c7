"""The whole advice: rows with their words, what is no row, levers, and the record of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from qpipe.advice import words
from qpipe.advice.candidates import AdvisedFormat, afterwards, command
from qpipe.advice.hardware import AdvisedMachine
from qpipe.advice.needs import Needs
from qpipe.advice.ranking import PassedOver, RankedRow, Ranking
from qpipe.advice.rulebook import AdviceRule, Rulebook


@dataclass(frozen=True)
class AdviceLever:
    """A setting that makes room: the rule, the bytes that it saves here (None: not
    reckoned), and whether what did not fit then fits."""

    rule: AdviceRule
    saves: int | None = None
    fits: bool | None = None
    setting: str | None = None


@dataclass(frozen=True)
class Advice:
    """Advice for a ``model``, whose files a recipe finds at ``source``, of so many ``weights``."""

    model: str
    source: str
    weights: int
    machine: AdvisedMachine
    needs: Needs
    ranking: Ranking
    levers: tuple[AdviceLever, ...]
    book: Rulebook
    notes: tuple[str, ...] = ()
    longest: int | None = None
    """Tokens of context with which the first row still fits where it is."""

    @property
    def rows(self) -> tuple[RankedRow, ...]:
        """Return what fits and is good enough, best first."""
        return self.ranking.rows

    @property
    def smallest(self) -> AdvisedFormat | None:
        """Return what lacks the least, where nothing fits."""
        fits = self.ranking.rows or self.ranking.below_floor or self.ranking.undecided
        return None if fits or not self.ranking.too_large else self.ranking.too_large[0]

    def record(self) -> dict[str, Any]:
        """The fields of the JSON answer."""
        ranking = self.ranking
        return {
            "model": self.model,
            "weights": self.weights,
            "machine": {
                "gpus": [
                    {
                        "name": card.name,
                        "memory_bytes": card.memory,
                        "bandwidth": card.bandwidth,
                    }
                    for card in self.machine.cards
                ],
                "ram_bytes": self.machine.ram,
                "detected": self.machine.detected,
                "left_to_the_system_bytes": self.book.assumed.system_memory,
                "gpu_margin_bytes": self.book.assumed.gpu_margin,
            },
            "needs": {
                "runtime": self.needs.runtime,
                "context": self.needs.context,
                "batch": self.needs.batch,
                "min_quality": None if self.needs.quality is None else self.needs.quality.text,
                "min_speed": self.needs.speed,
                "offline_cpu": self.needs.cpu_alone,
                "prefer": self.needs.goal,
            },
            "rows": [self._row(row) for row in self.rows],
            "left_out": self._passed(ranking.left_out),
            "below_floor": self._passed(ranking.below_floor),
            "undecided": self._passed(ranking.undecided),
            "too_large": [_lack(each) for each in ranking.too_large],
            "levers": [self._lever(each) for each in self.levers],
            "longest_context": self.longest,
            "notes": list(self.notes),
        }

    def command(self, row: RankedRow) -> str:
        """The command that makes a row's format."""
        return command(row.candidate, self.source, measured=False)

    def sources(self, rules: Iterable[AdviceRule]) -> list[dict[str, Any]]:
        """The documents of rules, each once."""
        named = dict.fromkeys(rule.source for rule in rules)
        every = self.book.sources
        return [every[name].model_dump(exclude={"table"}) for name in named]

    def _row(self, row: RankedRow) -> dict[str, Any]:
        candidate = row.candidate
        there = candidate.footprint
        memory: dict[str, Any] = {name: dict(parts) for name, parts in there.devices.items()}
        return {
            "format": candidate.format,
            "engine": candidate.engine,
            "method": candidate.method,
            "runtime": candidate.runtime,
            "also_runs_in": list(row.also),
            "device": there.device,
            "layers_on_gpu": there.layers,
            "size_bytes": candidate.size_bytes,
            "bits_per_weight": candidate.bits_per_weight,
            "memory_bytes": {**memory, "total": there.total},
            "quality": None if row.quality is None else row.quality.record(),
            "speed": None if candidate.speed is None else candidate.speed.record(),
            "why": words.why(row, self.machine, self.book),
            "gives_up": words.gives_up(row),
            "overruled": list(row.overruled),
            "rules": [rule.id for rule in candidate.rules if not rule.effect.lever],
            "sources": self.sources(r for r in candidate.rules if not r.effect.lever),
            "command": self.command(row),
            "then": afterwards(candidate),
            "measure": command(candidate, self.source, measured=True),
        }

    def _passed(self, listed: Iterable[PassedOver]) -> list[dict[str, Any]]:
        return [
            {
                "format": each.format,
                "runtime": each.runtime,
                "why": each.why,
                "rule": None if each.rule is None else each.rule.id,
                "source": None if each.rule is None else self.sources([each.rule])[0],
            }
            for each in listed
        ]

    def _lever(self, each: AdviceLever) -> dict[str, Any]:
        return {
            "rule": each.rule.id,
            "says": each.rule.says.en,
            "saves_bytes": each.saves,
            "fits": each.fits,
            "setting": each.setting,
            "source": self.sources([each.rule])[0],
        }


def _lack(candidate: AdvisedFormat) -> Mapping[str, Any]:
    return {
        "format": candidate.format,
        "runtime": candidate.runtime,
        "size_bytes": candidate.size_bytes,
        "needs_bytes": candidate.footprint.total,
        "lacks_bytes": candidate.lacks,
    }
