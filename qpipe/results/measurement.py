"""What an evaluator returns: its scores, how and on what they were measured, and by what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qpipe.results.fields import ENDINGS, figures
from qpipe.results.scores import Score

if TYPE_CHECKING:
    from qpipe.results.arithmetic import Arithmetic
    from qpipe.results.sampling import Sampling


@dataclass(frozen=True)
class Subject:
    """The data that was measured on: a text by its name, how many tokens of it, of which so many
    were scored, and the digest of their ids; or so many items of tasks."""

    text: str | None = None
    tokens: int | None = None
    tokens_scored: int | None = None
    tokens_sha256: str | None = None
    items: int | None = None


@dataclass(frozen=True)
class Bucket:
    """The tokens to which the reference gives its likeliest continuation a probability from ``low``
    to ``high``: how many, the mean score, and in how many percent the model's is the same."""

    low: float
    high: float
    tokens: int
    mean: float
    same_top_pct: float


@dataclass(frozen=True)
class Distribution:
    """Distribution of a score over tokens.

    ``counts`` are those below the first of ``edges``, from each edge to the next, and from the last
    on: one more than there are edges. ``by_confidence`` has the buckets that are not empty.
    """

    score: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    by_confidence: tuple[Bucket, ...] = ()

    def __post_init__(self) -> None:
        """Raise ValueError for counts that no edges belong to."""
        if len(self.counts) != len(self.edges) + 1 or [*self.edges] != sorted(set(self.edges)):
            raise ValueError("a distribution has a count for each interval between rising edges")


@dataclass(frozen=True)
class Measurement:
    """``scores`` under one ``protocol``, which two figures must share to be compared.

    ``by`` names what computed, with its version, ``arithmetic`` where and in what precision.
    ``imported`` is what a reference file says of one that was made elsewhere.
    ``notes`` are warnings to show; None: this kind of measurement has none. ``seconds`` are those
    of measuring alone, without loading. Raises ValueError for scores that would have a field of one
    name, such as ``x_low`` and ``x`` with an interval.
    """

    protocol: str | None
    scores: tuple[Score, ...] = ()
    on: Subject = Subject()
    by: str | None = None
    sampling: Sampling | None = None
    notes: tuple[str, ...] | None = None
    seconds: float | None = None
    tokens_per_second: float | None = None
    distribution: Distribution | None = None
    arithmetic: Arithmetic | None = None
    imported: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        """Raise ValueError for scores that no table can show."""
        keys = {each.key for each in self.scores}
        if len(keys) == len(self.scores) and not any(s.name.endswith(ENDINGS) for s in self.scores):
            return
        taken = Counter(name for each in self.scores for name in figures([each], compared=True))
        name, times = taken.most_common(1)[0]
        if times > 1:
            raise ValueError(f"two scores have a field {name!r}: call one otherwise")


@dataclass(frozen=True)
class Evaluation:
    """A measurement in its place: the stage that made it, its artifact and the machine.

    ``seconds`` are the stage's; ``text_digest`` is of the text, or of the folder of tasks.
    ``unlike`` says how its arithmetic differs from that of the reference that it is compared with:
    such differences are no measure of small losses.
    """

    stage: str
    metric: str | None
    status: str
    measurement: Measurement
    key: str | None = None
    artifact: str | None = None
    seconds: float | None = None
    text_digest: str | None = None
    machine: str | None = None
    unlike: str | None = None
