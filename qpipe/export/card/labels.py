"""What the models of a card are called in it: by their formats, and of several of one format by the
settings in which they differ."""

from __future__ import annotations

from collections.abc import Sequence

from qpipe.core.store import Artifact
from qpipe.export.model import DOWNLOAD, IMATRIX, MADE_OF, ExportedModel

_MATRIX = "importance matrix"
# Settings that make no other model, or that the format says already.
_PASSED = ("engine", "method", "provenance", "tree", "type")
# Characters of a value that stand in a label.
_LONGEST = 16


def labels(models: Sequence[ExportedModel]) -> dict[str, str]:
    """Return the label of each model that shares its format with another, by the name of its row;
    none for those whose settings do not tell them apart."""
    groups: dict[str, list[ExportedModel]] = {}
    for model in models:
        groups.setdefault(model.format, []).append(model)
    return {
        row: label
        for kind, group in groups.items()
        if len(group) > 1
        for row, label in _told_apart(kind, group).items()
    }


def _told_apart(kind: str, group: Sequence[ExportedModel]) -> dict[str, str]:
    settings = [_settings(model) for model in group]
    names = dict.fromkeys(name for each in settings for name in each)
    unlike = [name for name in names if len({each.get(name) for each in settings}) > 1]
    if len({each[_MATRIX] for each in settings} - {""}) == 1:
        settings = [{**each, _MATRIX: "yes" * bool(each[_MATRIX])} for each in settings]
    found = [
        ", ".join([kind, *filter(None, (_words(name, each.get(name, "")) for name in unlike))])
        for each in settings
    ]
    if len({*found}) < len(found):
        return {}
    return {model.row.name: label for model, label in zip(group, found, strict=True)}


def _settings(model: ExportedModel) -> dict[str, str]:
    """The settings of a model and of those that it was made of, as texts; empty where they are at
    nothing."""
    given = model.manifest.inputs.get(IMATRIX)
    settings = {_MATRIX: "" if given is None else given["digest"][:8]}
    artifact: Artifact | None = model.artifact
    while artifact is not None:
        manifest = artifact.manifest
        for name, value in manifest.params.items():
            if name not in _PASSED:
                settings.setdefault(name, _text(value))
        if manifest.stage == DOWNLOAD:
            settings["source"] = manifest.digest[:8]
            break
        keys = [manifest.inputs[role]["key"] for role in MADE_OF if role in manifest.inputs]
        artifact = next((model.ancestors[key] for key in keys if key in model.ancestors), None)
    return settings


def _text(value: object) -> str:
    if value in (None, False, "", [], {}):
        return ""
    if value is True:
        return "yes"
    text = str(value)
    return text if isinstance(value, (str, int, float)) and len(text) <= _LONGEST else "own"


def _words(name: str, value: str) -> str:
    """A setting in a label: ``pure``, ``outtype bf16``, ``own tensor types``."""
    spoken = name.replace("_", " ")
    if value in ("", "yes"):
        return spoken * bool(value)
    return f"own {spoken}" if value == "own" else f"{spoken} {value}"
