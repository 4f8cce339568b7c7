"""An exported folder checked by itself, on any machine, without store or network."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from qpipe.errors import QpipeError, StoreError, quoted
from qpipe.export import proof, provenance, sums
from qpipe.export.model import DOWNLOAD
from qpipe.report.rows import EVALUATE
from qpipe.support import hashing, strict_json
from qpipe.support.inside import inside, is_inner

_MOST = 100_000_000
_WEIGHTS = (".gguf", ".safetensors")
CANNOT = (
    "that the tools really ran so, and that the figures are what they measured",
    "what is told of a model beside its files and its key: its name, format and bits",
    "who wrote it: there is no signature",
)
"""What no look at a folder proves."""

Progress: TypeAlias = Callable[[int, int], None]
"""Takes (bytes read, bytes in all)."""


@dataclass
class Verification:
    """Result of checking a folder: ``problems``, none if it is whole, and what is ``proved``."""

    folder: Path
    files: int = 0
    size_bytes: int = 0
    problems: list[str] = field(default_factory=list)
    proved: list[str] = field(default_factory=list)
    unproved: list[str] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """True if nothing was found."""
        return not self.problems


def verify(
    folder: Path, *, threads: int = 1, progress: Progress = lambda done, total: None
) -> Verification:
    """Read every byte of an exported folder, and compare it with what its provenance says."""
    result = Verification(folder)
    try:
        statement = _statement(folder)
        digests = _digests(folder, threads, result, progress)
        subjects = _subjects(statement)
        chain = proof.read(statement["predicate"]["artifacts"])
        models = statement["predicate"]["buildDefinition"]["externalParameters"]["models"]
        result.problems += _of_files(folder, subjects, digests)
        result.problems += _of_sums(folder, digests)
        result.problems += chain.problems()
        result.problems += _of_names(models, subjects, chain)
        for model in models:
            result.problems += _of_model(folder, model, chain, digests, progress)
        result.problems += _of_sources(statement, chain)
        result.problems += _of_measurements(statement, chain)
    except (StoreError, ValueError) as error:
        result.problems.append(str(error))
    except (KeyError, TypeError, AttributeError) as error:
        result.problems.append(
            f"{provenance.NAME}: {type(error).__name__} at {error}: a field is missing or of "
            "another type"
        )
    except OSError as error:
        result.problems.append(f"{error.filename}: cannot be read ({error.strerror})")
    else:
        result.unproved += chain.unproved()
        result.proved += _proved(chain, models, result)
    return result


def _statement(folder: Path) -> Any:
    path = folder / provenance.NAME
    if not path.is_file():
        raise StoreError(
            f"{path}: is not there, so there is nothing to compare with; `qpipe export` writes it"
        )
    document = strict_json.load(path, StoreError, most=_MOST)
    for name, value in (("_type", provenance.STATEMENT), ("predicateType", provenance.PREDICATE)):
        if not isinstance(document, dict) or document.get(name) != value:
            raise StoreError(
                f"{path}: {name} is not {value}; this is no export of qpipe, or one of another "
                "version"
            )
    return document


def _digests(
    folder: Path, threads: int, result: Verification, progress: Progress
) -> dict[str, str]:
    """The SHA-256 of every file in the folder, by name."""
    files: dict[Path, str] = {}
    for root, folders, names in os.walk(folder):
        for name in [*names, *(each for each in folders if (Path(root) / each).is_symlink())]:
            path = Path(root) / name
            place = path.relative_to(folder).as_posix()
            if path.is_symlink() or not path.is_file():
                result.problems.append(f"{quoted(place)}: is a link, or no file")
            else:
                files[path] = place
    result.files, result.size_bytes = len(files), sum(path.stat().st_size for path in files)
    counter = hashing.ReadCounter(result.size_bytes, progress)
    read = hashing.side_by_side(
        lambda path: hashing.of_file(path, counter), list(files), threads=threads
    )
    return dict(zip(files.values(), read, strict=True))


def _subjects(statement: Any) -> dict[str, tuple[int, str]]:
    """Size and SHA-256 of each subject by its name. Raises StoreError for a name that leads out."""
    subjects = {}
    for each in statement["subject"]:
        name = each["name"]
        if not is_inner(name):
            inside(Path(), name, StoreError, by=provenance.NAME)
        if name in subjects:
            raise StoreError(f"{provenance.NAME}: names {quoted(name)} twice")
        subjects[name] = each["annotations"]["size"], each["digest"]["sha256"]
    return subjects


def _of_files(
    folder: Path, subjects: Mapping[str, tuple[int, str]], digests: Mapping[str, str]
) -> Iterator[str]:
    for name, (size, sha256) in subjects.items():
        if name not in digests:
            yield f"{quoted(name)}: is missing"
        elif (actual := (folder / name).stat().st_size) != size:
            yield f"{quoted(name)}: has {actual:,} bytes, not {size:,}"
        elif digests[name] != sha256:
            yield f"{quoted(name)}: its bytes are others (SHA-256 {digests[name][:12]}…, not " + (
                f"{sha256[:12]}…)"
            )
    for name in digests.keys() - subjects.keys() - {provenance.NAME, sums.NAME}:
        same = [other for other, (_, sha256) in subjects.items() if sha256 == digests[name]]
        renamed = [other for other in same if other not in digests]
        was = f"; it has the bytes of {quoted(renamed[0])}" if renamed else ""
        yield f"{quoted(name)}: is not part of the export{was}"


def _of_sums(folder: Path, digests: Mapping[str, str]) -> Iterator[str]:
    """SHA256SUMS has a line for each file, and no other."""
    if sums.NAME not in digests:
        yield f"{sums.NAME}: is missing"
        return
    stated = sums.read(folder)
    for name in sorted({*stated, *digests} - {sums.NAME}):
        if name not in digests:
            yield f"{sums.NAME}: names {quoted(name)}, which is not there"
        elif name not in stated:
            yield f"{sums.NAME}: does not name {quoted(name)}"
        elif stated[name] != digests[name]:
            yield f"{quoted(name)}: its bytes are not those of {sums.NAME}"


def _of_names(
    models: Sequence[Any], subjects: Mapping[str, tuple[int, str]], chain: proof.KeyChain
) -> Iterator[str]:
    """Models that name no file of the export, and weights that are of no model and no artifact (an
    importance matrix, towers). An export without weights, as by ``--to card``, is passed over."""
    weights = {name: sha for name, (_, sha) in subjects.items() if name.endswith(_WEIGHTS)}
    if not weights:
        return
    for model in models:
        row, names = model["row"], model["files"]
        if not isinstance(names, list) or not names:
            yield f"{row}: {provenance.NAME} names no file of it"
        for name in names:
            if name not in subjects:
                yield f"{row}: its file {quoted(name)} is not part of the export"
    named = {name for model in models for name in model["files"]}
    made = {file.sha256 for each in chain.manifests.values() for file in each.files}
    for name, sha256 in weights.items():
        if name not in named and sha256 not in made:
            yield f"{quoted(name)}: is of no model and no artifact that {provenance.NAME} names"


def _of_model(
    folder: Path,
    model: Any,
    chain: proof.KeyChain,
    digests: Mapping[str, str],
    progress: Progress,
) -> Iterator[str]:
    """A model's files are the artifact's under its key, and a GGUF file says that key."""
    row, names = model["row"], [name for name in model["files"] if name in digests]
    artifact = chain.manifests.get(model["key"])
    if artifact is None:
        yield f"{row}: its key {quoted(model['key'])} is none of the artifacts"
        return
    if (source := chain.source(model["key"])) != model["source"]:
        yield f"{row}: its source is {_shown(source)}, and it names {_shown(model['source'])}"
    made = {entry.sha256 for entry in artifact.files}
    weights = [name for name in names if name.endswith(_WEIGHTS)]
    parts = [name for name in weights if name.endswith(".gguf")]
    other = [name for name in names if digests[name] not in made]
    try:
        if "gguf" in model and parts:
            yield from _of_gguf(folder / parts[0], model)
            # Beside a GGUF file lie texts for programs that use it, which no artifact has.
            other = [name for name in other if name in weights]
            if other == parts and _joined(folder, parts, progress) in made:
                return
    except QpipeError as error:
        yield str(error)
        return
    for name in other:
        yield f"{quoted(name)}: is not among the files that {model['key'][:12]} made"


def _of_gguf(path: Path, model: Any) -> Iterator[str]:
    actual = provenance.in_file(path)
    for name, stated in model["gguf"].items():
        if actual[name] != stated:
            yield f"{path.name}: its {name} is {quoted(actual[name])}, not {quoted(stated)}"


def _joined(folder: Path, parts: Sequence[str], progress: Progress) -> str | None:
    """The digest of the one file that ``parts`` are; None where they are not all parts of one."""
    from qpipe.gguf import split
    from qpipe.gguf.splitting import joined_sha256

    first = Path(parts[0])
    part = split.named(first.name)
    if part is None or [str(first.with_name(name)) for name in part.all_names()] != [*parts]:
        return None
    return joined_sha256(folder / first, progress)


def _shown(key: Any) -> str:
    """A key in a sentence."""
    return "none" if key is None else quoted(str(key)[:12])


def _of_sources(statement: Any, chain: proof.KeyChain) -> Iterator[str]:
    """A source that is named is a download among the artifacts, with its commit and digest; and
    each of these is named, once."""
    sources = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    named = Counter(each["annotations"]["key"] for each in sources)
    for key, manifest in chain.manifests.items():
        if manifest.stage == DOWNLOAD and named[key] != 1:
            how = "does not name it" if not named[key] else f"names it {named[key]} times"
            yield f"source {key[:12]}: is among the artifacts, and resolvedDependencies {how}"
    for each in sources:
        artifact = chain.manifests.get(each["annotations"]["key"])
        if artifact is None or (artifact.digest, artifact.params.get("commit")) != (
            each["digest"]["sha256"],
            each["digest"].get("gitCommit"),
        ):
            yield f"source {quoted(each['name'])}: is not what its artifact says"


def _of_measurements(statement: Any, chain: proof.KeyChain) -> Iterator[str]:
    """A figure is of an artifact that is told, which measured the model that the figure is said to
    be of; and what only a measurement can be there for has its figure."""
    figures = statement["predicate"]["runDetails"]["byproducts"]
    for each in figures:
        of, key = each["annotations"]["model"], each["annotations"]["key"]
        artifact, model = chain.manifests.get(key), chain.manifests.get(of)
        if artifact is None or model is None:
            lacking = "measurement" if artifact is None else "model"
            yield (
                f"{quoted(each['name'])}: its {lacking} "
                f"{_shown(key if artifact is None else of)} is none of the artifacts"
            )
            continue
        measured = [
            input_of
            for role, entry in artifact.inputs.items()
            if role == "model" and (input_of := chain.manifests.get(entry["key"]))
        ]
        if measured and {f.sha256 for f in measured[0].files} != {f.sha256 for f in model.files}:
            yield f"{quoted(each['name'])}: was measured of another model"
    known = {each["annotations"]["key"] for each in figures}
    for key in chain.last(EVALUATE):
        if key not in known:
            yield f"measurement {key[:12]}: is among the artifacts, and no figure is of it"


def _proved(chain: proof.KeyChain, models: Sequence[Any], result: Verification) -> list[str]:
    if result.problems:
        return []
    carried = [m for m in models if m.get("gguf", {}).get("key") == m["key"]]
    sources = [m for m in chain.manifests.values() if m.stage == DOWNLOAD]
    lines = [
        f"all {result.files} files have the bytes that {provenance.NAME} and {sums.NAME} say",
        "there are no other files",
        f"all {len(chain.manifests)} keys follow from their settings, engines and inputs; "
        f"of sources: {len(sources)}",
    ]
    if carried:
        lines.append(f"models that carry their key in the file: {len(carried)} of {len(models)}")
    return lines
