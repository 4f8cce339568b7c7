"""Figures that own runs left in the store, of the very same model: quality by format, and speed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from qpipe.advice.evidence import QualityEvidence, Signature, signature
from qpipe.core.layout import StorePaths
from qpipe.core.manifest import Manifest
from qpipe.errors import QpipeError
from qpipe.machine.identity import describe
from qpipe.session import listing
from qpipe.session.advising.own_tasks import TaskAccuracy, accuracy, kept

_LONGEST_LINE = 20
_QUANTIZED = "quantize"
# Fields of `quantize` that make more of a format than its name says.
_BEYOND = ("tensor_types", "pure", "output_tensor_type", "token_embedding_type", "like", "modules")


@dataclass
class OwnFigures:
    """Figures in the store of one model: evidence by format, and tokens a second that were measured
    on this machine, the newest, by format and backend."""

    quality: defaultdict[Signature, list[QualityEvidence]] = field(
        default_factory=lambda: defaultdict(list)
    )
    speed: dict[Signature, tuple[float, str]] = field(default_factory=dict)


def own_figures(model: str, store: Path) -> OwnFigures:
    """Return what own runs measured of ``model``: a repository, a folder, or ``builtin:NAME``.

    Of a folder its content counts, as it was when it was measured. Raises StoreError for a store
    that cannot be read.
    """
    figures = OwnFigures()
    listed = {entry["key"]: entry for entry in listing.entries(str(store))}
    made = [entry for entry in listed.values() if entry["stage"] == "evaluate"]
    if not made:
        return figures
    paths = StorePaths(store)
    sources = {key for key in _downloads(listed) if _is_of(_manifest(paths, key), model, paths)}
    references: dict[str, TaskAccuracy] = {}
    measured: list[tuple[Manifest, Manifest]] = []
    for entry in made:
        subject = listed.get(entry["made_from"] or "")
        if subject is None or _root(subject, listed) not in sources:
            continue
        evaluation, origin = _manifest(paths, entry["key"]), _manifest(paths, subject["key"])
        if evaluation is None or origin is None:
            continue
        if origin.stage == _QUANTIZED:
            measured.append((evaluation, origin))
        elif (reference := accuracy(evaluation.facts)) is not None:
            references[reference.alike] = reference
    for evaluation, origin in measured:
        _add(figures, evaluation, origin, model, references)
    return figures


def _downloads(listed: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [key for key, entry in listed.items() if entry["stage"] == "download"]


def _root(entry: Mapping[str, Any], listed: Mapping[str, Mapping[str, Any]]) -> str:
    """The key of what an artifact was made from in the end."""
    for _ in range(_LONGEST_LINE):
        source = listed.get(entry["made_from"] or "")
        if source is None:
            break
        entry = source
    return str(entry["key"])


def _manifest(paths: StorePaths, key: str) -> Manifest | None:
    """A manifest; None of an artifact that is damaged or went away, of which others tell."""
    try:
        return Manifest.load(paths.artifact(key))
    except (QpipeError, OSError):
        return None


def _is_of(manifest: Manifest | None, model: str, paths: StorePaths) -> bool:
    if manifest is None:
        return False
    params = manifest.params
    if params.get("kind") == "model":
        return str(params.get("repo", "")).lower() == model.lower()
    if params.get("kind") != "local":
        return False
    from qpipe.session.functions import local_path

    try:
        path = local_path(model)
    except QpipeError:
        return False
    folder = path.parent if path.name == "config.json" else path
    if Path(str(manifest.facts.get("fetched_from"))).name != folder.resolve().name:
        return False  # hashing takes a minute for each hundred GB
    return params.get("tree") == _tree(folder, paths)


def _tree(folder: Path, paths: StorePaths) -> object:
    """The digest of a folder's content as it is now, remembered where nothing changed."""
    from qpipe.sources.hub_source import HubSource
    from qpipe.sources.pinning import Pinner

    def nobody(source: HubSource, last: str | None) -> str:
        raise AssertionError(f"a folder is no repository: {source} {last}")

    try:
        pinner = Pinner((Path("/"),), paths.hashes, {}, nobody)
        return pinner.pin(str(folder.resolve()), None).params["tree"]
    except QpipeError:
        return None


def _add(
    figures: OwnFigures,
    measured: Manifest,
    origin: Manifest,
    model: str,
    references: Mapping[str, TaskAccuracy],
) -> None:
    if any(origin.params.get(name) for name in _BEYOND):
        return
    made = signature(origin.params)
    facts = measured.facts
    figures.quality[made] += _evidence(measured, origin, model, references)
    speed = facts.get("tg")
    if isinstance(speed, int | float) and measured.machine == describe():
        figures.speed[made] = (float(speed), f"own run, {measured.key[:12]}")


def _evidence(
    measured: Manifest, origin: Manifest, model: str, references: Mapping[str, TaskAccuracy]
) -> Iterator[QualityEvidence]:
    facts = measured.facts
    alike = f"{facts.get('protocol')} {facts.get('tokens_sha256')} {facts.get('backend')}"
    day = datetime.fromtimestamp(measured.created, timezone.utc).date().isoformat()
    on = f" on {facts['text']}" if "text" in facts else ""
    about: dict[str, Any] = {
        "model": model,
        "origin": "run",
        "source": f"own run of {day}, {facts.get('protocol')}{on}, artifact {measured.key[:12]}",
        "calibrated": bool({"imatrix", "calibration"} & origin.inputs.keys()),
        "date": day,
    }
    kld, stderr = _number(facts.get("kld")), _number(facts.get("kld_stderr"))
    if kld is not None:
        yield QualityEvidence("kld", kld, group=f"kld {alike}", stderr=stderr, **about)
    ppl, delta = _number(facts.get("ppl")), _number(facts.get("ppl_delta"))
    if ppl is not None and delta is not None and ppl > delta:
        error = _number(facts.get("ppl_delta_stderr"))
        base = ppl - delta
        error = None if error is None else error / base
        yield QualityEvidence("ppl", delta / base, group=f"ppl {alike}", stderr=error, **about)
    tasks = accuracy(facts)
    reference = None if tasks is None else references.get(tasks.alike)
    if tasks is not None and reference is not None:
        share = kept(tasks, reference, about)
        yield from () if share is None else (share,)


def _number(value: object) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else None  # type: ignore[arg-type]
