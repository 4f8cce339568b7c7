"""Publish an export: what is asked before anything is written, and the upload of its folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from qpipe.errors import CheckpointError, UsageError
from qpipe.export import sums
from qpipe.export.licences import Licence
from qpipe.export.publishing import Publishing
from qpipe.export.repository import HubRepository, UploadPlan
from qpipe.export.source_model import is_repository, read_source
from qpipe.export.target import Export
from qpipe.gguf import card

__all__ = ["EDITED", "Publishing", "asked", "begun", "differences", "published", "refuse"]

_OPTIONS = {
    "repository": "--repo",
    "base_model": "--base-model",
    "quantized_by": "--quantized-by",
    "licence": "--license",
    "accepted": "--accept-license",
    "upload": "--upload",
    "private": "--private",
    "dry_run": "--dry-run",
}
_WITH_CARD = ("hf", "card")
_OF_UPLOAD = ("upload", "private", "dry_run", "accepted")


def asked(licence: tuple[str | None, str | None, str | None], **settings: Any) -> Publishing:
    """Return the settings that options ask for; ``licence`` is its identifier, its name and its
    link. Raises UsageError for a licence that cannot be named so."""
    return Publishing(licence=Licence.given(*licence), **settings)


def refuse(publishing: Publishing, to: str) -> None:
    """Raise UsageError for settings that a target has no use for, and names that the hub has
    not."""
    given = [name for name in _OPTIONS if getattr(publishing, name)]
    for name in given:
        if to not in _WITH_CARD or (to != "hf" and name in _OF_UPLOAD):
            raise UsageError(f"{_OPTIONS[name]}: is for --to hf, not --to {to}")
    for name in ("repository", "base_model"):
        value = getattr(publishing, name)
        if value is not None and not is_repository(value):
            raise UsageError(
                f"{_OPTIONS[name]} {value}: names on the hub are OWNER/NAME, of letters, digits "
                "and ._-, with at most 96 characters"
            )
    if publishing.repository is None and publishing.online:
        option = "--upload" if publishing.upload else "--dry-run"
        raise UsageError(f"{option}: where to? --repo OWNER/NAME names the repository")


def begun(export: Export) -> Export:
    """Return the export as its card needs it, once the licence and the token allow an upload.

    Raises UsageError for a licence that does not, PublishError for the token.
    """
    publishing = export.publishing
    if not publishing.online:
        return export
    assert publishing.repository is not None
    _refuse_licence(export)
    account: str | None = HubRepository(publishing.repository).login()
    if (export.out / sums.NAME).is_file():  # written before, with whatever it says of that
        account = _named_there(export.out)
    named = publishing.quantized_by or account
    return replace(export, publishing=replace(publishing, quantized_by=named))


def _named_there(folder: Path) -> str | None:
    """The account that the card of a folder names."""
    try:
        name = card.front_matter(folder).get("quantized_by")
    except CheckpointError:
        return None
    return name if isinstance(name, str) else None


def _refuse_licence(export: Export) -> None:
    publishing = export.publishing
    source = read_source(export.models[0].source)
    licence = publishing.licence or source.licence
    name = export.models[0].name
    if licence.identifier is None:
        raise UsageError(
            f"{name}: its source says no licence, and nobody may share what has none: --license "
            "NAME gives it, as the hub calls it (apache-2.0, mit, …; other with --license-name "
            "and --license-link)"
        )
    terms = licence.terms
    where = f" ({terms.source})" if terms.source else ""
    export.note(f"licence: {terms.name}: {terms.conditions}{where}")
    if source.gated:
        export.note(f"{source.repository or name} is gated: its readers accepted terms first")
    objections = [*terms.objections(publishing.repository)]
    if objections and not publishing.accepted:
        raise UsageError(
            f"{name}: {'; '.join(objections)}. Nothing was uploaded; if you may share it all the "
            "same, say so with --accept-license"
        )


def published(export: Export, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Send ``folder``, or look at what that would come to; return the answer's fields."""
    publishing = export.publishing
    assert publishing.repository is not None
    repository = HubRepository(publishing.repository)
    digests = sums.of(folder, export.digests)
    digests[sums.NAME] = export.digests.of(folder / sums.NAME)
    if not publishing.upload or publishing.dry_run:
        plan = repository.compare(folder, digests)
        for line in _lines(plan):
            say(f"{repository.name}: {line}")
        return {"repository": repository.name, "commit": None, "url": None, **_record(plan)}
    model = export.models[0].name
    commit = repository.upload(
        folder, digests, private=publishing.private, message=f"{model}, by qpipe export"
    )
    for line in _lines(commit.plan):
        say(f"{repository.name}: {line}")
    return {
        "repository": repository.name,
        "commit": commit.oid,
        "url": commit.url,
        **_record(commit.plan),
    }


def _lines(plan: UploadPlan) -> list[str]:
    """Return a line for each kind of file."""
    kinds = (
        (plan.new, "new"),
        (plan.replaced, "with other content there, replaced"),
        (plan.same, "there already"),
        (plan.others, "not of this export, left as they are"),
    )
    return [
        f"{len(names)} {words}: {', '.join(names[:5])}{', …' if len(names) > 5 else ''}"
        for names, words in kinds
        if names
    ]


def _record(plan: UploadPlan) -> dict[str, Any]:
    return {
        "new": [*plan.new],
        "replaced": [*plan.replaced],
        "same": [*plan.same],
        "others": [*plan.others],
    }


def differences(export: Export, again: Path) -> list[str]:
    """Return the names in which ``again``, an export made anew, and the one at its place are not
    the same."""
    there, here = (sums.of(folder, export.digests) for folder in (export.out, again))
    names = {name for name in {*there, *here} if there.get(name) != here.get(name)}
    return sorted(names - _OF_A_DAY)


EDITED = frozenset({"README.md"})
"""What its user may have changed before an upload."""

# What tells when and by which command an export was made.
_OF_A_DAY = frozenset({"provenance.json"})
