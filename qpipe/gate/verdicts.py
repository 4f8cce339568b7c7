"""What is decided: accept, regression, inconclusive or anomalous, for each loss, row and run.

A regression is declared where the loss is surely more than its bound, and accepted is what is
surely less. Regressions, and what is anomalous, are corrected for the number of losses that are
looked at (Holm, Scandinavian Journal of Statistics 6, 1979): of all that are within their bounds, a
run shows one as a regression with a probability of 5 % at most. Accepting needs no correction: a
run is accepted only if every row is (Berger, Technometrics 24, 1982).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from qpipe.gate.bounds import KLD, Bounds
from qpipe.gate.estimates import Bracket
from qpipe.gate.evidence import OF_REPORT, Evidence
from qpipe.gate.paired_items import LEVEL

ACCEPT, REGRESSION = "accept", "regression"
INCONCLUSIVE, ANOMALOUS = "inconclusive", "anomalous"
EXIT_CODES = {ACCEPT: 0, REGRESSION: 5, INCONCLUSIVE: 6, ANOMALOUS: 6}
# The 16-bit rounding of a reference's distributions leaves less than this below zero.
_NO_DIVERGENCE = 1e-4
# The worst first.
_ORDER = (REGRESSION, ANOMALOUS, INCONCLUSIVE, ACCEPT)


@dataclass(frozen=True)
class Worse:
    """A ``rival`` that rounds to the nearest in as many bits, and the p-value of being no worse."""

    rival: str
    p: float


@dataclass(frozen=True)
class LossVerdict:
    """The verdict on one loss, with ``why`` in words.

    ``p_regression``, ``p_accept``, ``p_better`` and ``p_worse_than_rtn`` are p-values, not
    corrected for their number; ``needed`` is how many more items or tokens would decide, None where
    it is decided or none would; ``note`` is what a reader has to know besides.
    """

    evidence: Evidence
    bound: float
    verdict: str
    why: str
    p_regression: float
    p_accept: float
    p_better: float | None
    p_worse_than_rtn: float | None
    worse_than: str | None
    needed: int | None
    note: str | None


@dataclass(frozen=True)
class RowVerdict:
    """The verdict on a row, the worst of its losses'."""

    name: str
    model: str | None
    verdict: str
    checks: tuple[LossVerdict, ...]


@dataclass(frozen=True)
class GateVerdict:
    """The verdict on a run, the worst of its rows'."""

    bounds: Bounds
    reference: str
    rows: tuple[RowVerdict, ...]

    @property
    def verdict(self) -> str:
        """The worst verdict of the rows."""
        return worst([row.verdict for row in self.rows])

    @property
    def exit_code(self) -> int:
        """0 accept, 5 regression, 6 inconclusive or anomalous."""
        return EXIT_CODES[self.verdict]


def worst(verdicts: Sequence[str]) -> str:
    """Return the worst of some verdicts."""
    return min(verdicts, key=_ORDER.index)


def decide(losses: Sequence[tuple[Evidence, Worse | None]], bounds: Bounds) -> list[LossVerdict]:
    """Decide on every loss of a run together, each with how it stands beside rounding to the
    nearest, where that is in the run."""
    p_regression = [e.estimate.p_above(bounds.given[e.kind]) for e, _ in losses]
    p_better = [_p_better(e, bounds) for e, _ in losses]
    p_worse = [None if worse is None else worse.p for _, worse in losses]
    return [
        _verdict(evidence, worse, bounds, (p, better, of_worse), surely, len(losses))
        for (evidence, worse), p, better, of_worse, *surely in zip(
            losses,
            p_regression,
            p_better,
            p_worse,
            holm(p_regression),
            holm(p_better),
            holm(p_worse),
            strict=True,
        )
    ]


def holm(ps: Sequence[float | None]) -> list[bool]:
    """Return which hypotheses are rejected, so that one is wrongly with 5 % at most; those without
    a p-value are none."""
    known = sorted((p, number) for number, p in enumerate(ps) if p is not None)
    rejected = [False] * len(ps)
    for rank, (p, number) in enumerate(known):
        if p > LEVEL / (len(known) - rank):
            break
        rejected[number] = True
    return rejected


def _p_better(evidence: Evidence, bounds: Bounds) -> float | None:
    """The p-value of being no better than the reference, or where equivalence is asked for, of
    being within the bound; None of a divergence, to which that does not apply."""
    if evidence.kind == KLD:
        return None
    if bounds.equivalent:
        return evidence.estimate.p_below(-bounds.given[evidence.kind])
    return evidence.estimate.p_better


def _verdict(
    evidence: Evidence,
    worse: Worse | None,
    bounds: Bounds,
    ps: tuple[float, float | None, float | None],
    surely: Sequence[bool],
    among: int,
) -> LossVerdict:
    bound, estimate = bounds.given[evidence.kind], evidence.estimate
    regressed, better, worse_than_rtn = surely
    p_accept = estimate.p_below(bound)
    two_sided = bounds.equivalent and evidence.kind != KLD
    if two_sided:  # two one-sided tests: Schuirmann, J. Pharmacokin. Biopharm. 15, 1987
        p_accept = max(p_accept, estimate.p_above(-bound))
    needed = None
    if regressed:
        verdict, why = REGRESSION, "surely more than the bound"
    elif evidence.kind == KLD and estimate.high < -_NO_DIVERGENCE:
        verdict, why = ANOMALOUS, "a divergence is never below zero: the measurement is wrong"
    elif worse_than_rtn and worse is not None:
        verdict, why = ANOMALOUS, f"worse than rounding to the nearest ({worse.rival})"
    elif better:
        beyond = "by more than the bound" if two_sided else "by more than chance"
        verdict, why = ANOMALOUS, f"better than the reference {beyond}"
    elif p_accept <= LEVEL:
        verdict, why = ACCEPT, "surely less than the bound"
        why = "surely within the bound on both sides" if two_sided else why
    else:
        verdict = INCONCLUSIVE
        why, needed = _undecided(evidence, bound, two_sided=two_sided, among=among)
    return LossVerdict(
        evidence,
        bound,
        verdict,
        why,
        p_regression=ps[0],
        p_accept=p_accept,
        p_better=ps[1],
        p_worse_than_rtn=ps[2],
        worse_than=worse.rival if worse is not None and worse_than_rtn else None,
        needed=needed,
        note="; ".join(_notes(evidence, bound)) or None,
    )


def _undecided(
    evidence: Evidence, bound: float, *, two_sided: bool, among: int
) -> tuple[str, int | None]:
    """Why nothing is decided, and how many more items or tokens would."""
    estimate = evidence.estimate
    nearest = -bound if two_sided and estimate.value < 0 else bound
    wanted = estimate.needed(nearest, among=among)
    if wanted is not None:
        more = max(1, wanted - estimate.count)
        words = f"about {rounded_up(more):,} more {evidence.unit}"
        if not math.isfinite(estimate.low):
            return f"so few windows say nothing of how much they differ: take {words} first", more
        return f"{words} would decide", more
    if isinstance(estimate, Bracket) and estimate.least.value <= bound <= estimate.most.value:
        return "top_k leaves open on which side of the bound it is: take a larger one", None
    return "the loss is as good as at the bound: no number would decide", None


def rounded_up(number: int) -> int:
    """Return a number in two figures, no less than it is."""
    step: int = 10 ** max(0, len(str(number)) - 2)
    return math.ceil(number / step) * step


def _notes(evidence: Evidence, bound: float) -> Iterator[str]:
    """Say what the verdict rests on, and what it does not show."""
    if evidence.note is not None:
        yield evidence.note
    elif evidence.basis == OF_REPORT:
        yield "perplexity beside kld: the interval of the run is taken"
    if len(evidence.tasks) > 1:
        surely = holm([items.p_above(bound) for items in evidence.tasks.values()])
        worse = [task for task, sure in zip(evidence.tasks, surely, strict=True) if sure]
        if worse:
            yield f"alone, {' and '.join(worse)} surely lost more than the bound"
