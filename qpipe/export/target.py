"""The form in which models leave the store, and what every such form is given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from qpipe.core.digests import Digests
from qpipe.export.model import ExportedModel
from qpipe.export.publishing import Publishing
from qpipe.report.runs import Summary
from qpipe.results.comparison import Comparison


@dataclass(frozen=True)
class Export:
    """Request for an export: ``models``, and the ``comparison`` that has their figures (the
    reference first, rows of other models too).

    ``folder`` is empty and to be filled; it is moved to its place, ``out``, once it is whole.
    ``split_size`` is the most bytes of a file, None: no bound. ``command`` is the command line that
    asked for it. ``run``: `ExportTarget.use` is asked; ``memory``: bytes of the card that serves.
    ``note`` takes sentences that its user should read; ``progress`` takes (bytes done, bytes in
    all). ``runs`` made the models; ``publishing`` is for a repository on the hub.
    """

    models: Sequence[ExportedModel]
    comparison: Comparison
    folder: Path
    out: Path
    digests: Digests
    split_size: int | None = None
    name: str | None = None
    command: str = ""
    run: bool = True
    memory: int | None = None
    note: Callable[[str], None] = lambda note: None
    progress: Callable[[int, int], None] = lambda done, total: None
    runs: Sequence[Summary] = ()
    publishing: Publishing = field(default_factory=Publishing)


@dataclass(frozen=True)
class ExportedFile:
    """A file of an export: its name in the folder, and the row of the model that it is of."""

    name: str
    row: str | None = None


@dataclass(frozen=True)
class Exported:
    """Result of a target: its ``files`` (sums and provenance are added by the caller), the
    ``commands`` that use them, each with what it does, and more for the answer in JSON."""

    files: Sequence[ExportedFile]
    commands: Mapping[str, str] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)


class ExportTarget(ABC):
    """A form in which models leave."""

    name: ClassVar[str]
    largest: ClassVar[int | None] = None
    """The most bytes of a file that it takes, where it has a bound and none is asked for."""

    @abstractmethod
    def refuse(self, export: Export) -> None:
        """Raise UsageError for models that cannot leave in this form, before anything is
        written."""

    @abstractmethod
    def write(self, export: Export) -> Exported:
        """Fill ``export.folder``. Raises QpipeError; OSError is explained by the caller."""

    def use(self, export: Export, exported: Exported) -> Exported:
        """Hand what is at ``export.out`` to the program that it is for, where that is here.

        Raises QpipeError; the folder stays.
        """
        return exported
