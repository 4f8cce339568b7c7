"""Nodes of a run that has not been started, and jobs that it leaves out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from qpipe.core.key import Json
from qpipe.errors import QpipeError
from qpipe.results.preview import Preview

Precision = Literal["exact", "about", "at most", "at least"]
"""How near a size is: of a sum, ``about`` and ``at most`` where a part of it is so, ``at least``
where the size of a part is not known at all."""


@dataclass(frozen=True)
class PlannedNode:
    """One node of a run that has not been started.

    ``state`` is ``cached`` (in the store), ``run`` (it would run) or ``unknown`` (an input has to
    be made first), ``why`` says so in words; ``made_before``: it would be cached if its inputs came
    out as they did before. ``key`` is None as long as it depends on what an input
    will hold; ``artifact`` is the folder in the store, of ``artifact_bytes``. ``preview`` is what
    would be made, as far as headers tell, ``facts`` those of the artifact or the preview; ``error``
    is what the node would fail with.
    ``source_kind`` is local, model, dataset or remote of a source, else None; ``purpose`` is said
    of what is made for one thing alone.
    """

    name: str
    stage: str
    id: str
    state: str
    why: str
    key: str | None = None
    artifact: Path | None = None
    preview: Preview | None = None
    error: QpipeError | None = None
    made_before: bool = False
    facts: Mapping[str, Json] = field(default_factory=dict)
    artifact_bytes: int | None = None
    source_kind: str | None = None
    purpose: str = ""

    @property
    def size(self) -> int | None:
        """Return the bytes that the node has in the store or would take there, as far as known."""
        return self.artifact_bytes if self.preview is None else self._fact("size_bytes")

    @property
    def download(self) -> int | None:
        """Return the bytes that the hub's cache does not have yet; None if that is not known."""
        return self._fact("download_bytes")

    @property
    def precision(self) -> Precision:
        """Return how near `size` is."""
        if self.preview is None or not (self.preview.about or self.preview.at_most):
            return "exact"
        return "about" if self.preview.about else "at most"

    def _fact(self, name: str) -> int | None:
        value: Any = None if self.preview is None else self.preview.facts.get(name)
        return value if isinstance(value, int) else None


@dataclass(frozen=True)
class LeftOut:
    """A job of a sweep that cannot be run, and why."""

    name: str
    error: str
