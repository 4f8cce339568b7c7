"""What a model's source says of it: the repository it came from, its licence, its languages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qpipe.core.store import Artifact
from qpipe.errors import CheckpointError
from qpipe.export.licences import IDENTIFIER, LINK, Licence

_GATES = ("extra_gated_prompt", "extra_gated_heading", "extra_gated_fields")
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


@dataclass(frozen=True)
class SourceModel:
    """The source of a model: ``repository`` and ``commit`` where that is the hub; of its own card
    what the card of a quantized model takes over. ``texts`` are the files of its licence."""

    repository: str | None = None
    commit: str | None = None
    licence: Licence = field(default_factory=Licence)
    languages: tuple[str, ...] = ()
    pipeline_tag: str | None = None
    gated: bool = False
    texts: tuple[Path, ...] = ()
    notes: tuple[str, ...] = field(default=())


def read_source(artifact: Artifact | None) -> SourceModel:
    """Read it from the artifact of a download; of one whose bytes are gone, what its manifest
    says."""
    if artifact is None:
        return SourceModel()
    params = artifact.manifest.params
    repository, commit = params.get("repo"), params.get("commit")
    notes = []
    try:
        card = _card(artifact.path)
    except CheckpointError as error:
        card = {}
        notes.append(f"{error}; nothing of it is taken over")
    files = sorted(artifact.path / entry.path for entry in artifact.manifest.files)
    return SourceModel(
        repository=str(repository) if repository and params.get("kind") == "model" else None,
        commit=str(commit) if commit else None,
        licence=_licence(card),
        languages=tuple(_texts(card.get("language") or card.get("languages"))),
        pipeline_tag=next(iter(_texts(card.get("pipeline_tag"))), None),
        gated=any(card.get(name) for name in _GATES),
        texts=tuple(file for file in files if file.name.startswith("LICENSE") and file.is_file()),
        notes=tuple(notes),
    )


def is_repository(name: str) -> bool:
    """Return whether a name has the form OWNER/NAME of the hub."""
    return len(name) <= 96 and not re.search(r"--|\.\.", name) and bool(_REPOSITORY.fullmatch(name))


def _card(folder: Path) -> Mapping[str, Any]:
    from qpipe.gguf import card

    return card.front_matter(folder)


def _licence(card: Mapping[str, Any]) -> Licence:
    identifiers = _texts(card.get("license"))
    if len(identifiers) > 1:
        return Licence("other", ", ".join(identifiers))
    identifier = next(iter(identifiers), None)
    if identifier is None or not IDENTIFIER.fullmatch(identifier.casefold()):
        return Licence()
    link = next(iter(_texts(card.get("license_link"))), None)
    return Licence(
        identifier.casefold(),
        next(iter(_texts(card.get("license_name"))), None),
        link if link and LINK.fullmatch(link) else None,
    )


def _texts(value: Any) -> list[str]:
    """The short texts of a field that is one or a list; of other types nothing."""
    values = value if isinstance(value, list) else [value]
    return [each for each in values if isinstance(each, str) and 0 < len(each) <= 200]
