"""A model of the store that is to leave it, with all that it was made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from qpipe.core.layout import MANIFEST
from qpipe.core.manifest import Manifest
from qpipe.core.store import Artifact
from qpipe.results.comparison import ModelRow

DOWNLOAD, IMATRIX = "download", "imatrix"
MADE_OF = ("model", "checkpoint")
"""Roles through which a model was made of another."""


@dataclass(frozen=True)
class ExportedModel:
    """A model with its row of a comparison, its artifact, and its ancestors.

    ``ancestors`` are the artifacts that it was made from, by key, the nearest first; where the
    bytes of one are gone its path leads nowhere, and its manifest still tells what it was.
    ``towers`` are the files for images and sound that were made of the same source, ``measured``
    the artifacts of its measurements and all that these were made from.
    """

    row: ModelRow
    artifact: Artifact
    ancestors: Mapping[str, Artifact]
    towers: Sequence[Artifact] = ()
    measured: Mapping[str, Artifact] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The model's name, without its format."""
        return self.row.model or self.artifact.manifest.name

    @property
    def format(self) -> str:
        """The format in the words of tables: Q4_K_M, gptq 4-bit g128."""
        return self.row.format or self.row.name

    @property
    def manifest(self) -> Manifest:
        """The account of the model's making."""
        return self.artifact.manifest

    @property
    def files(self) -> list[Path]:
        """The files of the model, without the store's manifest."""
        folder = self.artifact.path
        return [folder / entry.path for entry in self.manifest.files if entry.path != MANIFEST]

    @property
    def gguf(self) -> Path | None:
        """The GGUF file that the model is, or the first of its parts; None for a checkpoint."""
        files = [file for file in self.files if file.suffix == ".gguf"]
        return min(files) if files else None

    @property
    def source(self) -> Artifact | None:
        """The download that the weights came from; None where its manifest is gone too."""
        of: Artifact | None = self.artifact
        while of is not None and of.manifest.stage != DOWNLOAD:
            of = next(filter(None, (self._input(of, role) for role in MADE_OF)), None)
        return of

    @property
    def imatrix(self) -> Artifact | None:
        """The importance matrix that it was quantized with, if there was one."""
        return self._input(self.artifact, IMATRIX)

    def _input(self, of: Artifact, role: str) -> Artifact | None:
        entry = of.manifest.inputs.get(role)
        return None if entry is None else self.ancestors.get(entry["key"])


def checkpoints(models: Sequence[ExportedModel]) -> list[ExportedModel]:
    """Return the models that are checkpoints, not GGUF files."""
    return [model for model in models if model.gguf is None]
