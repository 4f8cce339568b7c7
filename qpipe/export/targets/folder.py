"""folder: the models alone, each under the name that its kind of file usually has."""

from __future__ import annotations

from qpipe.export.placing import place
from qpipe.export.target import Export, Exported, ExportedFile, ExportTarget


class FolderTarget(ExportTarget):
    """GGUF files and checkpoints' folders side by side."""

    name = "folder"

    def refuse(self, export: Export) -> None:
        """Refuse nothing: every model is files."""

    def write(self, export: Export) -> Exported:
        """Link each model's files."""
        files = []
        for model in export.models:
            for file in model.files:
                name = f"{model.name}-{model.format}/{file.relative_to(model.artifact.path)}"
                place(file, export.folder / name, export.digests)
                files.append(ExportedFile(name, model.row.name))
        return Exported(files)
