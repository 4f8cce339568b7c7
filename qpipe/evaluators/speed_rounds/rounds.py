"""Several subjects measured in turn, and the statistics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from statistics import median, quantiles

from qpipe.evaluators.speed_rounds.settings import Sample
from qpipe.evaluators.speed_rounds.subjects import Subject

FIELDS = tuple(field.name for field in fields(Sample))


@dataclass(frozen=True)
class Figure:
    """``median`` and interquartile range (``iqr``) of one figure over the rounds."""

    median: float
    iqr: float


def take_turns(
    subjects: Sequence[Subject],
    *,
    warmup: int,
    repeats: int,
    progress: Callable[[int, int], None],
) -> list[list[Sample]]:
    """The samples of each subject. In each round all are measured, in turn first and last.

    A machine that slows down or is disturbed so slows all of them, and their ratios stand.
    """
    samples: list[list[Sample]] = [[] for _ in subjects]
    for number in range(warmup + repeats):
        order = range(len(subjects))
        for index in order if number % 2 == 0 else reversed(order):
            sample = subjects[index].measure()
            if number >= warmup:
                samples[index].append(sample)
        progress(number + 1, warmup + repeats)
    return samples


def figure(samples: Sequence[Sample], name: str) -> Figure:
    """Median and IQR of a field of samples; quartiles as in `statistics.quantiles`, inclusive."""
    values = [getattr(sample, name) for sample in samples]
    if len(values) == 1:
        return Figure(values[0], 0.0)
    low, middle, high = quantiles(values, n=4, method="inclusive")
    return Figure(middle, high - low)


def ratio(samples: Sequence[Sample], reference: Sequence[Sample], name: str) -> float:
    """The median over rounds of one's value by the other's in the same round."""
    pairs = zip(samples, reference, strict=True)
    return float(median(getattr(one, name) / getattr(other, name) for one, other in pairs))
