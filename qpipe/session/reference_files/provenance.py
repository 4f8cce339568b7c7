"""A reference file's account of itself, put together from manifests of the store."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qpipe import __version__
from qpipe.core.dropped import recall
from qpipe.core.manifest import Manifest
from qpipe.core.store import Artifact, ArtifactStore
from qpipe.errors import QpipeError, StoreError
from qpipe.evaluators.reference_files.about import (
    FileAbout,
    MeasuredPart,
    ModelPart,
    StoredPart,
    TextPart,
)
from qpipe.evaluators.reference_files.parts import protocol_part, text_part
from qpipe.evaluators.text.reference import Reference

_FROM = ("model", "checkpoint")
_LONG = 300


class Ancestors:
    """The artifacts that others were made from, as far as the store still has their manifests."""

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store

    def of(self, manifest: Manifest | None, *roles: str) -> Artifact | None:
        """The artifact in the first of these roles; None where nothing is known of it."""
        inputs = {} if manifest is None else manifest.inputs
        key = next((inputs[role]["key"] for role in roles if role in inputs), None)
        if key is None:
            return None
        try:
            return self._store.peek(key) or recall(self._store, key)
        except StoreError:
            return recall(self._store, key)

    def first(self, artifact: Artifact | None) -> Artifact | None:
        """The artifact that all of it was made from: what was downloaded."""
        while artifact is not None and (above := self.of(artifact.manifest, *_FROM)) is not None:
            artifact = above
        return artifact


def about_file(
    reference: Artifact,
    stored: Reference,
    documents: list[str] | None,
    *,
    store: ArtifactStore,
    carried: bool,
    by: str | None,
) -> FileAbout:
    """The account that a file gives of this reference. ``documents`` are the text as it was
    prepared (None: not known), ``by`` names who measured."""
    sources = Ancestors(store)
    manifest = reference.manifest
    model = sources.of(manifest, "model")
    tokens = sources.of(manifest, "tokens")
    text = sources.of(tokens.manifest if tokens else None, "text")
    return FileAbout(
        model=_model(manifest, model, sources.first(model)),
        text=_text(stored, text, documents, carried=carried and documents is not None),
        protocol=protocol_part(
            stored.tokenized,
            tokenizer=None if tokens is None else _short(tokens.manifest.facts.get("tokenizer")),
        ),
        stored=StoredPart(n_vocab=stored.about["n_vocab"], top_k=stored.about["top_k"]),
        measured=_measured(manifest, stored, by),
    )


def _model(manifest: Manifest, model: Artifact | None, first: Artifact | None) -> ModelPart:
    facts: Mapping[str, Any] = {} if model is None else model.manifest.facts
    return ModelPart(
        name=_short(manifest.facts.get("made_for")) or "a model",
        format=_short(facts.get("format")),
        architecture=_short(facts.get("architecture")),
        source=None if first is None else _source(first.manifest),
        digest=manifest.inputs["model"]["digest"],
        size_bytes=facts.get("size_bytes"),
        bits_per_weight=facts.get("bits_per_weight"),
        weights=facts.get("weights"),
        licence=None if first is None else _licence(first.path),
    )


def _source(manifest: Manifest) -> str | None:
    """A repository with its commit, or the digest of local files."""
    params = manifest.params
    if params.get("repo") is not None:
        kind = "datasets/" if params.get("kind") == "dataset" else ""
        file = f"/{params['file']}" if params.get("file") else ""
        return f"hf:{kind}{params['repo']}@{params['commit']}{file}"
    return f"local:{params['tree']}" if params.get("tree") else None


def _licence(folder: Path) -> str | None:
    """The licence that the model's card names, or its GGUF file."""
    from qpipe.gguf import card, reader

    try:
        if (licence := card.read(folder).get("license")) is not None:
            return _short(licence if isinstance(licence, str) else ", ".join(map(str, licence)))
        for file in sorted(folder.glob("*.gguf"))[:1]:
            return _short(reader.read(file).metadata.get("general.license"))
    except (QpipeError, OSError):
        return None
    return None


def _text(
    stored: Reference, text: Artifact | None, documents: list[str] | None, *, carried: bool
) -> TextPart:
    files = [] if text is None else [*text.manifest.files]
    return text_part(
        stored.tokenized.about.text[:_LONG],
        documents,
        carried=carried,
        file_sha256=files[0].sha256 if len(files) == 1 else None,
        source=None if text is None else _source(text.manifest),
    )


def _measured(manifest: Manifest, stored: Reference, by: str | None) -> MeasuredPart:
    facts = manifest.facts
    arithmetic: Any = facts.get("arithmetic")
    notes = stored.about.get("notes") or []
    return MeasuredPart(
        backend=str(stored.about["backend"]),
        arithmetic=arithmetic and dict(arithmetic),
        machine={name: value for name, value in manifest.machine.items() if name != "host"},
        qpipe=manifest.tools.get("qpipe", __version__),
        date=time.strftime("%Y-%m-%d", time.gmtime(manifest.created)),
        by=by,
        key=manifest.key,
        kld_noise=stored.about.get("kld_noise"),
        notes=[str(note) for note in notes],
    )


def _short(value: object) -> str | None:
    return None if value is None else str(value)[:_LONG]
