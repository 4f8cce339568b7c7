"""Values that cannot be, and errors out of all proportion."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import median

from qpipe.published.rules.survey import SHARES, Contradiction, Survey, SurveyRow
from qpipe.published.schema import PublishedValue

_LEAST = {"ppl": 1, "word_ppl": 1, "size": 0, "bpw": 0, "pp": 0, "tg": 0, "seconds": 0}
_POSITIVE = ("ppl", "word_ppl", "bits_per_byte", "kld", *SHARES)
_ENOUGH = 4  # errors of which one can be told to be unlike the others
_FACTOR = 8.0


def impossible_value(survey: Survey) -> Iterator[Contradiction]:
    """A perplexity below 1, a share outside 0 to 100 %, no divergence of what was quantized."""
    for row in survey.rows:
        for name, value in row.values.items():
            words = _impossible(row, value)
            if words:
                printed = f"{value.printed.value} {value.metric.unit or ''}".strip()
                yield Contradiction("impossible_value", row, name, f"{printed}: {words}")


def _impossible(row: SurveyRow, value: PublishedValue) -> str | None:
    number, score = value.printed.value, value.score.partition("[")[0]
    least = _LEAST.get(score)
    if least is not None and number < least:
        return f"{score} is never less than {least}"
    if score in ("size", "bpw", "pp", "tg") and number == 0:
        return f"{score} is never 0"
    if score in SHARES:
        most = 100 if value.metric.unit == "%" or score == "same_top_pct" else 1
        if not 0 <= number <= most:
            return f"a share is between 0 and {most}"
    if score == "kld" and number == 0 and not row.format.base:
        return "quantization always makes some difference"
    return None


def implausible_stderr(survey: Survey) -> Iterator[Contradiction]:
    """A standard error that is eight times that of the others or more, or an eighth, relative to
    the value."""
    for group in survey.groups:
        for name in survey.table.metrics:
            found = [(row, row.values[name]) for row in group if name in row.values]
            yield from _unlike([(row, value) for row, value in found if _has_error(value)], name)


def _has_error(value: PublishedValue) -> bool:
    stderr, number = value.printed.stderr, value.printed.value
    return value.score.partition("[")[0] in _POSITIVE and bool(stderr and number)


def _unlike(found: list[tuple[SurveyRow, PublishedValue]], name: str) -> Iterator[Contradiction]:
    if len(found) < _ENOUGH:
        return
    shares = [abs(float((value.printed.stderr or 0) / value.printed.value)) for _, value in found]
    usual = median(shares)
    for (row, value), share in zip(found, shares, strict=True):
        if abs(math.log(share / usual)) >= math.log(_FACTOR):
            words = (
                f"{value.printed.value} ± {value.printed.stderr}: an error of {100 * share:.2g} %, "
                f"where that of the others is about {100 * usual:.2g} %"
            )
            yield Contradiction("implausible_stderr", row, name, words)
