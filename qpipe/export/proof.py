"""What provenance.json says, checked against itself: each key is computed again from the settings,
the engine and the inputs' digests beside it, and each digest from the files of the input.

So no setting, version or digest on the way from the sources to a key can be another than it was
without that key being another too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from qpipe.core import key
from qpipe.core.manifest import FileEntry, Manifest
from qpipe.errors import quoted
from qpipe.export.model import DOWNLOAD, MADE_OF

_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class KeyChain:
    """The artifacts of a statement by key: ``manifests`` as far as they can be read, ``records`` as
    they stand there."""

    records: Mapping[str, Mapping[str, Any]]
    manifests: Mapping[str, Manifest]

    def problems(self) -> Iterator[str]:
        """Yield what contradicts itself, in words."""
        for own, manifest in self.manifests.items():
            digests = {role: entry["digest"] for role, entry in manifest.inputs.items()}
            computed = key.artifact_key(
                stage=manifest.stage,
                version=manifest.version,
                params=manifest.params,
                engine=manifest.engine,
                inputs=digests,
            )
            if computed != own:
                yield (
                    f"artifact {own[:12]} ({manifest.stage}): its settings, engine and inputs give "
                    f"the key {computed[:12]}; one of them is not what it was when it was made"
                )
            yield from self._of_inputs(own, manifest)
            yield from _of_tree(own, manifest)

    def source(self, key: Any) -> str | None:
        """The key of the download that the weights of a model came from; None where what leads to
        it is not told (`ExportedModel.source`)."""
        passed: set[str] = set()
        while isinstance(key, str) and key in self.manifests and key not in passed:
            manifest = self.manifests[key]
            if manifest.stage == DOWNLOAD:
                return key
            passed.add(key)
            inputs = [manifest.inputs[role]["key"] for role in MADE_OF if role in manifest.inputs]
            key = next((each for each in inputs if each in self.manifests), None)
        return None

    def last(self, stage: str) -> list[str]:
        """The keys of what a stage made and nothing else was made from."""
        used = {entry["key"] for each in self.manifests.values() for entry in each.inputs.values()}
        return [
            key for key, each in self.manifests.items() if each.stage == stage and key not in used
        ]

    def unproved(self) -> list[str]:
        """Return the inputs whose files were not known when the statement was written, or are
        counted by no rule that is told."""
        return [
            f"the input {role} of {own[:12]} ({manifest.stage})"
            for own, manifest in self.manifests.items()
            for role, entry in manifest.inputs.items()
            if self._rule(own, role) is None
        ]

    def _rule(self, own: str, role: str) -> Mapping[str, Any] | None:
        rule: Mapping[str, Any] | None = self.records[own]["inputs"][role]["counted"]
        return rule

    def _of_inputs(self, own: str, manifest: Manifest) -> Iterator[str]:
        for role, entry in manifest.inputs.items():
            of, rule = self.manifests.get(entry["key"]), self._rule(own, role)
            if rule is None:
                continue
            if of is None:
                yield (
                    f"artifact {own[:12]} ({manifest.stage}): its input {role}, "
                    f"{entry['key'][:12]}, was counted, and is none of the artifacts any more"
                )
                continue
            digest = of.digest_but(rule["but"], nameless=rule["nameless"])
            if digest != entry["digest"]:
                yield (
                    f"artifact {own[:12]} ({manifest.stage}): its input {role} has the digest "
                    f"{entry['digest'][:12]}, and the files of {of.key[:12]} have {digest[:12]}"
                )


def _of_tree(own: str, manifest: Manifest) -> Iterator[str]:
    """The digest of a local source is in its settings (`sources.pinning`)."""
    tree = manifest.params.get("tree") if manifest.stage == "download" else None
    if isinstance(tree, str) and tree != manifest.digest:
        yield (
            f"artifact {own[:12]} (download): its source has the digest {tree[:12]}, and its files "
            f"have {manifest.digest[:12]}"
        )


def read(records: Any) -> KeyChain:
    """The artifacts of a statement. Raises ValueError, in words, for what is no such record."""
    if not isinstance(records, dict):
        raise ValueError("artifacts is no object")
    manifests = {}
    for own, record in records.items():
        if not _SHA256.fullmatch(own):
            raise ValueError(f"{quoted(own)} is no key")
        try:
            manifests[own] = _manifest(own, record)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"artifact {own[:12]}: {type(error).__name__} at {error}, a field is missing or of "
                "another type"
            ) from None
    return KeyChain(records, manifests)


def _manifest(own: str, record: Mapping[str, Any]) -> Manifest:
    files = [FileEntry(each["path"], each["size"], each["sha256"]) for each in record["files"]]
    for file in files:
        if not (isinstance(file.path, str) and type(file.size) is int):
            raise TypeError(file.path)
        _digest(file.sha256)
    for entry in record["inputs"].values():
        _digest(entry["digest"])
        _digest(entry["key"])
        if entry["counted"] is not None:
            _rule(entry["counted"])
    if not (isinstance(record["params"], dict) and isinstance(record["engine"], dict)):
        raise TypeError("params")
    return Manifest(
        key=own,
        id=record["id"],
        name=str(record["stage"]),
        stage=record["stage"],
        version=record["version"],
        params=record["params"],
        engine=record["engine"],
        inputs=record["inputs"],
        files=files,
        facts={},
    )


def _digest(value: Any) -> None:
    if not (isinstance(value, str) and _SHA256.fullmatch(value)):
        raise TypeError(f"digest {quoted(value)}")


def _rule(value: Any) -> None:
    patterns, nameless = value["but"], value["nameless"]
    texts = isinstance(patterns, list) and all(isinstance(each, str) for each in patterns)
    if not (texts and isinstance(nameless, bool)):
        raise TypeError("counted")
