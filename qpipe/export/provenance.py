"""provenance.json: what an export was made from, by what, and what was measured, as an in-toto
Statement (v1) with a predicate in the shape of SLSA's provenance (v1).

docs/provenance.md and provenance.schema.json describe it. Its bytes depend on the export alone: no
time but that at which an artifact was made, no path of this machine, and of a variable's value no
more than its digest (`core/env_values.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from qpipe import __version__
from qpipe.core.manifest import Manifest
from qpipe.export.files import TERMS
from qpipe.export.model import ExportedModel
from qpipe.export.target import Export, ExportedFile
from qpipe.results import arithmetic, fields
from qpipe.results.measurement import Evaluation

NAME = "provenance.json"
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "urn:qpipe:provenance:v1"
BUILD = "urn:qpipe:export:v1"
BUILDER = "urn:qpipe"

DOCUMENTS = (*TERMS, "README*")
# Files of an input that a stage may leave out of the digest in its key, the most common way first.
UNCOUNTED: Sequence[tuple[str, ...]] = ((), TERMS, DOCUMENTS)


def write(
    export: Export, target: str, files: Sequence[ExportedFile], sums: Mapping[str, str]
) -> None:
    """Write the statement on an export whose ``files`` have these ``sums``, and note the figures
    that are not in it. Raises OSError."""
    if unbound := _unbound(export.models):
        export.note(
            f"{'; '.join(unbound)}: the store has the measurement no more, so the figures are not "
            f"in {NAME}; run the recipe again to have them there"
        )
    document = statement(export, target, files, sums)
    text = json.dumps(document, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
    (export.folder / NAME).write_text(text + "\n", encoding="utf-8")


def statement(
    export: Export, target: str, files: Sequence[ExportedFile], sums: Mapping[str, str]
) -> dict[str, Any]:
    """The statement as plain data; its subjects are all files but itself and SHA256SUMS."""
    artifacts = {key: each for model in export.models for key, each in _artifacts(model).items()}
    return {
        "_type": STATEMENT,
        "subject": [_subject(export.folder, name, sha256) for name, sha256 in sums.items()],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD,
                "externalParameters": {
                    "target": target,
                    "name": export.name,
                    "split_size": export.split_size,
                    "models": [_model(export.folder, model, files) for model in export.models],
                },
                "resolvedDependencies": list(_sources(artifacts.values())),
            },
            "runDetails": {
                "builder": {"id": BUILDER, "version": {"qpipe": __version__}},
                "byproducts": [
                    _measurement(model, each)
                    for model in export.models
                    for each in model.row.measurements
                    if each.key in model.measured
                ],
            },
            "artifacts": {
                key: _artifact(manifest, artifacts) for key, manifest in artifacts.items()
            },
        },
    }


def _unbound(models: Sequence[ExportedModel]) -> list[str]:
    """The figures of measurements that the store does not know, by the names of rows."""
    return [
        f"{model.row.name} {each.metric or each.stage}"
        for model in models
        for each in model.row.measurements
        if each.measurement.scores and each.key not in model.measured
    ]


def _subject(folder: Path, name: str, sha256: str) -> dict[str, Any]:
    size = (folder / name).stat().st_size
    return {"name": name, "digest": {"sha256": sha256}, "annotations": {"size": size}}


def _artifacts(model: ExportedModel) -> dict[str, Manifest]:
    """The manifests of a model, of its towers, of what was measured, and of all that they were made
    from, by key."""
    own = [model.artifact, *model.towers, *model.ancestors.values(), *model.measured.values()]
    return {artifact.key: artifact.manifest for artifact in own}


def _model(folder: Path, model: ExportedModel, files: Sequence[ExportedFile]) -> dict[str, Any]:
    own = sorted(file.name for file in files if file.row == model.row.name)
    first = next((name for name in own if name.endswith(".gguf")), None)
    return {
        "name": model.name,
        "row": model.row.name,
        "format": model.format,
        "key": model.artifact.key,
        "files": own,
        "source": None if model.source is None else model.source.key,
        "size_bytes": model.row.size_bytes,
        "bits_per_weight": model.row.bits_per_weight,
        "weights": model.row.weights,
        **({} if first is None else {"gguf": in_file(folder / first)}),
    }


def in_file(path: Path) -> dict[str, Any]:
    """The key and the licence that a GGUF file, or the first of its parts, carries, and the number
    of its tensors.

    Raises CheckpointError.
    """
    from qpipe.gguf import split

    file = split.read(path)
    said = {
        name: file.value(field) if field in file.metadata else None
        for name, field in (("key", "qpipe.key"), ("licence", "general.license"))
    }
    return {**said, "tensors": len(file.tensors)}


def _artifact(manifest: Manifest, known: Mapping[str, Manifest]) -> dict[str, Any]:
    """The part of a manifest that its key hangs on, what came out, and what took part."""
    return {
        "stage": manifest.stage,
        "version": manifest.version,
        "params": manifest.params,
        "engine": manifest.engine,
        "inputs": {
            role: {
                "key": entry["key"],
                "digest": entry["digest"],
                "counted": _counted(known.get(entry["key"]), entry["digest"]),
            }
            for role, entry in manifest.inputs.items()
        },
        "id": manifest.id,
        "files": [
            {"path": each.path, "size": each.size, "sha256": each.sha256} for each in manifest.files
        ],
        "tools": manifest.tools,
        "created": datetime.fromtimestamp(int(manifest.created), timezone.utc).isoformat(),
    }


def _counted(manifest: Manifest | None, digest: str) -> dict[str, Any] | None:
    """The rule by which the files of an input come to ``digest``: the patterns of those that do not
    count, and whether a single one counts without its name. None: no such rule, or it is gone."""
    if manifest is None:
        return None
    for nameless in (False, True):
        for patterns in UNCOUNTED:
            if manifest.digest_but(patterns, nameless=nameless) == digest:
                return {"but": [*patterns], "nameless": nameless}
    return None


def _sources(manifests: Iterable[Manifest]) -> Iterable[dict[str, Any]]:
    """The downloads among them: repositories with their commits, local files by their digest."""
    for manifest in sorted(manifests, key=lambda each: each.key):
        if manifest.stage != "download":
            continue
        params = manifest.params
        repo, commit = params.get("repo"), params.get("commit")
        kind = "datasets/" if params.get("kind") == "dataset" else ""
        address = str(manifest.facts.get("fetched_from"))
        uri = f"hf://{kind}{repo}@{commit}" if commit else address
        terms = [each.path for each in manifest.files if each.path.startswith(_PREFIXES)]
        yield {
            "name": repo or manifest.facts.get("name") or manifest.name,
            **({"uri": uri} if uri.startswith(_PUBLIC) else {}),
            "digest": {
                "sha256": manifest.digest,
                **({"gitCommit": commit} if commit else {}),
            },
            "annotations": {"key": manifest.key, "licence_files": terms},
        }


_PUBLIC = ("hf://", "https://", "s3://", "gs://")
_PREFIXES = tuple(pattern.rstrip("*") for pattern in TERMS)


def _measurement(model: ExportedModel, each: Evaluation) -> dict[str, Any]:
    measured = each.measurement
    computed = measured.arithmetic
    return {
        "name": f"{model.row.name}: {each.metric or each.stage}",
        "annotations": {
            "model": model.artifact.key,
            "key": each.key,
            "metric": each.metric,
            "protocol": measured.protocol,
            "text": measured.on.text,
            "text_sha256": each.text_digest,
            "tokens": measured.on.tokens,
            "tokens_scored": measured.on.tokens_scored,
            "tokens_sha256": measured.on.tokens_sha256,
            "items": measured.on.items,
            "by": measured.by,
            "arithmetic": computed and arithmetic.to_record(computed),
            "scores": fields.figures(measured.scores, compared=True),
        },
    }
