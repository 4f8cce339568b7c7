"""What a card is written from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from qpipe.export.card.levels import Levels
from qpipe.export.card.tables import CardFile
from qpipe.export.licences import Licence
from qpipe.export.model import ExportedModel
from qpipe.export.publishing import Publishing
from qpipe.export.source_model import SourceModel
from qpipe.report.runs import Summary


@dataclass(frozen=True)
class CardContent:
    """Everything that stands in a card: ``models`` that are all of one ``source``, their ``levels``
    and ``listed`` files by the names of their rows.

    ``extras`` are further files of the repository, each with what it is; ``prompt`` is an example
    in the model's chat template, None without one. ``verified``: SHA256SUMS and provenance.json
    are there.
    """

    models: Sequence[ExportedModel]
    levels: Levels
    source: SourceModel
    publishing: Publishing
    listed: Mapping[str, Sequence[CardFile]]
    runs: Sequence[Summary] = ()
    picture: str | None = None
    prompt: str | None = None
    extras: Mapping[str, str] = field(default_factory=dict)
    verified: bool = False

    @property
    def gguf(self) -> bool:
        """True for GGUF files, False for a checkpoint."""
        return self.models[0].gguf is not None

    @property
    def name(self) -> str:
        """The model's name: that of its repository, or of its folder."""
        return self.models[0].name

    @property
    def title(self) -> str:
        """The card's title."""
        if self.publishing.repository:
            return self.publishing.repository.rpartition("/")[2]
        name = self.name.rpartition("/")[2]
        return f"{name} GGUF" if self.gguf else f"{name} {self.models[0].format}"

    @property
    def base_model(self) -> str | None:
        """The model on the hub that this is a quantized copy of; None where nothing says it."""
        return self.publishing.base_model or self.source.repository

    @property
    def licence(self) -> Licence:
        """The licence, as it was given or as the source says."""
        return self.publishing.licence or self.source.licence

    @property
    def method(self) -> str:
        """The method by which weights were made smaller: gguf, gptq, awq, …"""
        return str(self.models[0].manifest.params.get("method") or "gguf" * self.gguf or "none")
