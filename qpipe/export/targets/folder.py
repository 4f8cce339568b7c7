"""folder: the models alone, each under the name that its kind of file usually has."""

from __future__ import annotations

from qpipe.export.files import place_all
from qpipe.export.target import Export, Exported, ExportTarget


class FolderTarget(ExportTarget):
    """GGUF files and checkpoints' folders side by side."""

    name = "folder"

    def refuse(self, export: Export) -> None:
        """Refuse nothing: every model is files."""

    def write(self, export: Export) -> Exported:
        """Place each model's files, and what goes along with them."""
        return Exported(place_all(export))
