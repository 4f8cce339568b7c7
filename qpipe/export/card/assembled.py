"""A card's content from an export: which models, which files, which figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from qpipe.errors import UsageError
from qpipe.export.card.content import CardContent
from qpipe.export.card.labels import labels
from qpipe.export.card.levels import Levels
from qpipe.export.card.tables import CardFile
from qpipe.export.model import ExportedModel
from qpipe.export.names import export_names, part_name
from qpipe.export.prompt import explained
from qpipe.export.source_model import read_source
from qpipe.export.target import Export
from qpipe.results.comparison import Comparison, ModelRow


def refuse(export: Export) -> None:
    """Raise UsageError for models that no one card can be of."""
    models = export.models
    if len(names := sorted({model.name for model in models})) > 1:
        raise UsageError(
            f"one repository is of one model, and these are of {len(names)} "
            f"({', '.join(names[:3])}{', …' if len(names) > 3 else ''}): export them one by one"
        )
    checkpoints = [model for model in models if model.gguf is None]
    if checkpoints and len(models) > 1:
        rows = ", ".join(model.row.name for model in models)
        raise UsageError(
            "a checkpoint has a repository of its own, and these are "
            f"{len(models)} models ({rows}): name one with --only"
        )


def content(export: Export, files: Mapping[str, Sequence[CardFile]]) -> CardContent:
    """Gather what the card of ``export`` is written from; ``files`` by the names of rows."""
    model = export.models[0]
    levels = _levels(export)
    source = read_source(model.source)
    prompt, problem = explained(model)
    for note in (*source.notes, *([problem] if problem else [])):
        export.note(f"card: {note}")
    return CardContent(
        models=export.models,
        levels=levels,
        source=source,
        publishing=export.publishing,
        listed=files,
        runs=export.runs,
        prompt=prompt,
    )


def listed(export: Export) -> dict[str, list[CardFile]]:
    """Return the files of each model under the names that they have in a repository, by rows."""
    names = export_names(export.models, export.name)
    return {
        model.row.name: _files(model, name.stem)
        for model, name in zip(export.models, names, strict=True)
    }


def _files(model: ExportedModel, stem: str) -> list[CardFile]:
    row = model.row.name
    if model.gguf is None:
        root = model.artifact.path
        return [
            CardFile(file.relative_to(root).as_posix(), row, file.stat().st_size)
            for file in model.files
            if file.suffix == ".safetensors"
        ]
    parts = sorted(file for file in model.files if file.suffix == ".gguf")
    return [
        CardFile(part_name(stem, number, len(parts)), row, part.stat().st_size)
        for number, part in enumerate(parts, 1)
    ]


def _levels(export: Export) -> Levels:
    """The exported rows, and beside them those of their own model that they are compared with."""
    keys = {model.row.key for model in export.models}
    model = export.models[0].row.model
    exported = [row for row in export.comparison.rows if row.key in keys]
    others = [
        row
        for row in export.comparison.rows
        if row.key not in keys and row.reference and row.model == model
    ]
    compared = Comparison.of([*others, *exported])
    rows = [row for row in compared.rows if row.key in keys]
    return Levels.of(compared, rows, labels(export.models))


def published(comparison: Comparison) -> Comparison:
    """Return a comparison without the places of this machine in it, as others may read it."""
    return replace(comparison, rows=tuple(map(_placeless, comparison.rows)))


def _placeless(row: ModelRow) -> ModelRow:
    return replace(
        row,
        artifact=None,
        file=None,
        link=None,
        overrides=(),
        measurements=tuple(replace(each, artifact=None) for each in row.measurements),
    )
