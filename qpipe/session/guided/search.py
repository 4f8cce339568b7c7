"""A guided sweep as it runs: rounds on more and more windows, for those levels that need them.

What is measured is kept like everything else, and a measurement goes on from the one of fewer
windows: a level that comes to the end of the text has the node, the key and the bytes that a plain
sweep gives it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from qpipe.core.events import Emit, Noted
from qpipe.core.graph import Node, Plan
from qpipe.core.outcome import Outcome, RunResult
from qpipe.core.run_settings import Lacks
from qpipe.recipe.draft import GuideDraft
from qpipe.session.guided.parts import (
    TOKENS,
    SweptLevel,
    groups,
    sources_of,
    with_measurements,
    without,
)

if TYPE_CHECKING:
    from qpipe.evaluators.text.elimination import CandidateLevel, Standing
    from qpipe.evaluators.text.interfaces import Nll

Run = Callable[[Plan], RunResult]
"""Runs a plan, and takes it for what the run is by now."""
Sizes = Callable[[Plan], Mapping[str, int]]
"""The exact bytes of nodes that are not made yet, by id, as far as headers tell."""
InStore = Callable[[Plan], Collection[str]]
"""The ids of nodes that the store has, and that are not to be made again."""


@dataclass
class ComparedLevels:
    """Levels that are compared with each other, and what is known of them by now."""

    levels: Sequence[SweptLevel]
    sizes: dict[str, int] = field(default_factory=dict)
    """Bytes, by level."""
    parts: dict[str, list[Node]] = field(default_factory=dict)
    """Their measurements, of more and more windows."""
    free: list[str] = field(default_factory=list)
    """Levels that the store has measured on the whole text: they cost nothing."""
    too_large: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    rounds: list[int] = field(default_factory=list)
    """Windows by the end of each round, the last all."""
    ends: dict[str, int] = field(default_factory=dict)
    """The round in which each level was taken out, from 1."""
    width: int = 0
    counts: Nll | None = None
    standing: Standing | None = None
    candidates: dict[str, CandidateLevel] = field(default_factory=dict)

    @property
    def available(self) -> int:
        """The windows of the text."""
        return self.rounds[-1] if self.rounds else 0

    def label(self, level: str) -> str:
        """The name of a level in reports."""
        return next(each.label for each in self.levels if each.id == level)

    def windows(self, level: str) -> int:
        """The windows that a level has taken."""
        if not self.parts[level]:
            return 0
        first = self.parts[level][-1].params.get("first")
        return first if isinstance(first, int) else self.available

    def spent(self, level: str) -> int:
        """The windows that were computed of a level for this sweep."""
        return 0 if level in self.free else self.windows(level)

    @property
    def remaining(self) -> list[SweptLevel]:
        """The levels that are there to be compared."""
        out = {*self.too_large, *self.failed}
        return [level for level in self.levels if level.id not in out]


@dataclass
class GuidedSweep:
    """A sweep in progress."""

    plan: Plan
    guide: GuideDraft
    run: Run
    sizes: Sizes
    in_store: InStore
    emit: Emit
    keep_going: bool
    lacks: Lacks
    outcomes: Mapping[str, Outcome]
    """Of all that has ended in the run, by node id."""
    compared: list[ComparedLevels] = field(default_factory=list)
    done: bool = False
    """Whether all that was looked for is known."""

    def search(self) -> None:
        """Run all rounds. Raises RecipeError where there is nothing to compare."""
        self.compared = [ComparedLevels(levels) for levels in groups(self.plan)]
        for each in self.compared:
            each.parts = {level.id: [] for level in each.levels}
        if any(self.lacks(level.whole) for each in self.compared for level in each.levels):
            self.run(self.plan)  # which says so before anything is made
            return
        if self.guide["max_size"] is not None:
            self._leave_out_too_large()
        result = self._run()
        there = self.in_store(self.plan)
        for each in self.compared:
            each.free = [level.id for level in each.remaining if level.id in there]
        for each in self.compared:
            self._begin(each, result)
        number = 0
        while self._goes_on(result) and self._add_due(number):
            number += 1
            result = self._run()
            for each in self.compared:
                self._look(each, number, result)
        if self.guide["whole"] and self._goes_on(result) and self._finish():
            result = self._run()
        self.done = self._goes_on(result)

    @property
    def in_vain(self) -> bool:
        """True if nothing is what was looked for."""
        left = [each.standing.left if each.standing else [] for each in self.compared]
        return self.done and not all(left)

    def _goes_on(self, result: RunResult) -> bool:
        return self.keep_going or result.status == "done"

    def _run(self) -> RunResult:
        every = [level for each in self.compared for level in each.levels]
        parts = {level: parts for each in self.compared for level, parts in each.parts.items()}
        plan = with_measurements(self.plan, every, parts)
        out = [level.model for each in self.compared for level in each.levels
               if level.id in each.too_large]  # fmt: skip
        return self.run(without(plan, out) if out else plan)

    def _leave_out_too_large(self) -> None:
        """Take out what is too large before it is made: once what it is made from is there, where
        headers do not tell without."""
        models = {level.model for each in self.compared for level in each.levels}
        exact = self.sizes(self.plan)
        if not models <= exact.keys():
            self.run(sources_of(self.plan, models))
            exact = self.sizes(self.plan)
        for each in self.compared:
            self._take_sizes(each, {level.id: exact.get(level.model) for level in each.levels})

    def _take_sizes(self, each: ComparedLevels, sizes: Mapping[str, int | None]) -> None:
        most = self.guide["max_size"]
        each.sizes |= {level: size for level, size in sizes.items() if size is not None}
        if most is not None:
            large = [level.id for level in each.levels if each.sizes.get(level.id, 0) > most]
            each.too_large = large

    def _begin(self, each: ComparedLevels, result: RunResult) -> None:
        """Take the sizes of the models that were made, and plan the rounds."""
        from qpipe.evaluators.text import elimination
        from qpipe.evaluators.text.windows import load

        made = {level.id: result.outcomes.get(level.model) for level in each.remaining}
        self._take_sizes(each, {level: _size(outcome) for level, outcome in made.items()})
        each.failed = [
            level for level, outcome in made.items() if outcome is None or outcome.artifact is None
        ]
        tokens = result.outcomes[each.levels[0].whole.inputs[TOKENS]].artifact
        if tokens is None or not each.remaining:
            each.failed = [level.id for level in each.remaining]
            return
        windows = load(tokens.path).windows
        each.width = int(windows.tokens.shape[1])
        each.counts = (windows.spans[:, 1] - windows.spans[:, 0]).astype(float)
        each.rounds = elimination.rounds(len(windows.tokens), self.guide["first"])
        bound = self.guide["max_kld"]
        comparisons = elimination.comparisons(
            len(each.remaining), len(each.rounds) - 1, bounded=bound is not None
        )
        each.standing = elimination.Standing(
            elimination.SweepQuestion(
                self.guide["find"], bound, each.counts, self.guide["confidence"], comparisons
            ),
            open=[level.id for level in each.remaining],
        )

    def _add_due(self, number: int) -> bool:
        """Add the measurements of the next round; False if there are none."""
        due = [self._due(each, number) for each in self.compared]
        return any(due)

    def _due(self, each: ComparedLevels, number: int) -> bool:
        """Add the measurements of the next round; False if there are none."""
        if each.standing is None or number >= len(each.rounds):
            return False
        windows = each.rounds[number]
        due = [level for level in each.remaining if level.id in each.standing.open]
        for level in due:
            parts = each.parts[level.id]
            begun = parts[-1] if parts else None
            last = windows == each.available or level.id in each.free
            parts.append(level.to_the_end(begun) if last else level.of_first(windows, begun))
        return bool(due)

    def _look(self, each: ComparedLevels, number: int, result: RunResult) -> None:
        """Compare what was measured."""
        from qpipe.evaluators.text.elimination import CandidateLevel

        if each.standing is None:
            return
        for level in each.remaining:
            part = each.parts[level.id][-1]
            outcome = result.outcomes[part.id]
            if outcome.artifact is None:
                each.failed.append(level.id)
                each.candidates.pop(level.id, None)
            else:
                size = each.sizes[level.id]
                each.candidates[level.id] = CandidateLevel(level.id, size, _sums(outcome))
        before = {*each.standing.beaten}
        each.standing.look([*each.candidates.values()])
        new = [level for level in each.standing.beaten if level not in before]
        each.ends |= dict.fromkeys(new, number)
        self.emit(Noted(_progress(each, number, new)))

    def _finish(self) -> bool:
        """Measure on the whole text what is found; False if it is already."""
        due = False
        for each in self.compared:
            for level in each.standing.left if each.standing else []:
                parts = each.parts[level.name]
                if "first" in parts[-1].params:
                    swept = next(one for one in each.levels if one.id == level.name)
                    parts.append(swept.to_the_end(parts[-1]))
                    due = True
        return due


def _size(outcome: Outcome | None) -> int | None:
    if outcome is None or outcome.artifact is None:
        return None
    size: Any = outcome.artifact.manifest.facts.get("size_bytes")
    return size if isinstance(size, int) else outcome.artifact.manifest.size


def _sums(outcome: Outcome) -> Any:
    import numpy as np

    from qpipe.evaluators.text.rivals import SUMS

    assert outcome.artifact is not None
    return np.load(outcome.artifact.path / SUMS)


def _progress(each: ComparedLevels, number: int, new: Sequence[str]) -> str:
    assert each.standing is not None
    words = f"round {number}: {each.rounds[number - 1]} of {each.available} windows"
    out = f"; out: {', '.join(map(each.label, new))}" if new else ""
    left = len(each.standing.open)
    return f"{words}{out}; {left or 'no'} level{'' if left == 1 else 's'} undecided"
