"""hf: a folder as a repository on the hub has it, with its model card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from qpipe.export import eval_results
from qpipe.export.card import assembled, picture
from qpipe.export.card.content import CardContent
from qpipe.export.card.document import document
from qpipe.export.card.tables import CardFile
from qpipe.export.files import TERMS, place_beside, place_model
from qpipe.export.names import export_names
from qpipe.export.ollama.settings import read
from qpipe.export.placing import place
from qpipe.export.target import Export, Exported, ExportedFile, ExportTarget
from qpipe.export.targets.ollama import write_for_the_hub
from qpipe.report.render import render

CARD, PICTURE = "README.md", "card.png"
RESULTS = {"json": "results.json", "csv": "results.csv"}
NOTICE = "NOTICE"
_WEIGHTS = (".gguf", ".safetensors")


class HfTarget(ExportTarget):
    """GGUF files side by side, or one checkpoint, with README.md, card.png and results."""

    name = "hf"
    largest = 50 * 10**9  # of what the hub takes as one file without Xet

    def refuse(self, export: Export) -> None:
        """Refuse what no one repository can hold."""
        assembled.refuse(export)

    def write(self, export: Export) -> Exported:
        """Place the model's files, and write what describes them."""
        files = _placed(export)
        content = assembled.content(export, _listed(export, files))
        content = replace(content, extras=_extras(files), verified=True)
        written = [*_results(export, content), *_notice(export, content, files)]
        if content.gguf:
            written += write_for_the_hub(export, [*map(read, export.models)])
        if picture.is_drawn(content.levels):
            (export.folder / PICTURE).write_bytes(picture.picture(content.levels))
            content = replace(content, picture=PICTURE)
            written.append(PICTURE)
        _write(export.folder / CARD, document(content))
        _say_what_is_missing(export, content)
        every = [*files, *map(ExportedFile, [CARD, *written])]
        return Exported(every)


def _placed(export: Export) -> list[ExportedFile]:
    if export.models[0].gguf is None:
        return _checkpoint(export)
    names = export_names(export.models, export.name)
    files = [
        file
        for model, name in zip(export.models, names, strict=True)
        for file in place_model(export, model, name)
    ]
    return files + place_beside(export, names)


def _checkpoint(export: Export) -> list[ExportedFile]:
    """The one checkpoint at the root, with the terms of its source, but for the source's card."""
    (model,) = export.models
    root = model.artifact.path
    places = {file.relative_to(root).as_posix(): file for file in model.files}
    places.pop(CARD, None)
    if model.source is not None:
        folder = model.source.path
        for entry in model.source.manifest.files:
            if any(Path(entry.path).match(pattern) for pattern in TERMS):
                places.setdefault(entry.path, folder / entry.path)
    files = []
    for name, file in sorted(places.items()):
        if file.is_file():
            place(file, export.folder / name, export.digests)
            files.append(ExportedFile(name, model.row.name))
    return files


def _listed(export: Export, files: Sequence[ExportedFile]) -> dict[str, list[CardFile]]:
    """The files that hold weights, by the rows that they are of."""
    listed: dict[str, list[CardFile]] = {}
    for file in files:
        if file.row is not None and file.name.endswith(_WEIGHTS):
            size = (export.folder / file.name).stat().st_size
            listed.setdefault(file.row, []).append(CardFile(file.name, file.row, size))
    return listed


def _extras(files: list[ExportedFile]) -> Mapping[str, str]:
    """Files beside the models, each with what it is."""
    words = {"imatrix": "the importance matrix", "mmproj": "the towers for images and sound"}
    named = {
        file.name: word
        for file in files
        for part, word in words.items()
        if file.row is None and part in file.name
    }
    return {
        **named,
        RESULTS["json"]: "every figure, as data",
        RESULTS["csv"]: "the same as a table",
    }


def _results(export: Export, content: CardContent) -> list[str]:
    """The names of the written results: the figures themselves, and entries of benchmarks."""
    comparison = assembled.published(content.levels.comparison)
    for form, name in RESULTS.items():
        _write(export.folder / name, render(comparison, form, title=content.title))
    names = [*RESULTS.values()]
    for name, text in eval_results.files(content).items():
        _write(export.folder / name, text)
        names.append(name)
    return names


def _notice(export: Export, content: CardContent, files: list[ExportedFile]) -> list[str]:
    """The notice that a licence asks for, where the source has none."""
    notice = content.licence.terms.notice
    if notice is None or any(file.name.upper().startswith(NOTICE) for file in files):
        return []
    _write(export.folder / NOTICE, f"{notice}\n")
    return [NOTICE]


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _say_what_is_missing(export: Export, content: CardContent) -> None:
    """Note what the card leaves out, and how to give it."""
    if content.base_model is None:
        export.note(
            "card: the source is not on the hub, so no base_model is named; --base-model "
            "OWNER/NAME names it"
        )
    if content.licence.identifier is None:
        export.note("card: the source says no licence; --license ID gives it, as the hub calls it")
    if export.publishing.repository and not export.publishing.online:
        export.note("to send it to the hub: the same command with --upload")
    if content.source.gated:
        export.note(f"{content.source.repository or content.name} is gated: see its terms first")
