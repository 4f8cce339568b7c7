"""Runs that have ended: found by name, read from run.json, and merged into one comparison.

run.json is read field by field: whoever wrote it, what comes out is what tables need. A field that
an older qpipe did not write is None; one that nobody here reads is left out. What is written now is
described by qpipe/results/run.schema.json.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from qpipe.core.layout import RunPaths
from qpipe.errors import UsageError, nearest, quoted
from qpipe.report.told_apart import told_apart
from qpipe.results import fields, losses, record, tensors
from qpipe.results.comparison import SCHEMA, Comparison, ModelRow
from qpipe.results.losses import TensorLoss
from qpipe.results.scores import RESERVED
from qpipe.results.tensors import TensorDetail
from qpipe.support import strict_json
from qpipe.support.files import is_file, is_folder

LATEST = "latest"
_MOST_BYTES = 50_000_000


def find_run(name: str, runs: Path) -> RunPaths:
    """Find a run by its name below ``runs``, by its folder, or (``latest``, FOLDER/latest) as the
    newest.

    Raises UsageError if there is none.
    """
    if not name:
        raise UsageError(
            f"'' names no run: give a name below {runs}, a run's folder, or {LATEST!r}"
        )
    if name == LATEST:
        return RunPaths(runs / _newest(runs))
    for folder in (runs / name, Path(name)):
        if is_file(RunPaths(folder).summary):
            return RunPaths(folder)
    if Path(name).name == LATEST and is_folder(Path(name).parent):
        return find_run(LATEST, Path(name).parent)
    if is_folder(runs / name):
        raise UsageError(
            f"run {name}: {RunPaths(runs / name).summary} is not there; the run was interrupted or "
            "is still going on (run its command again to finish it)"
        )
    names = _names(runs)
    hint = nearest(name, [LATEST, *names]) if names else _none_yet(runs)
    raise UsageError(f"there is no run {name!r} in {runs}; {hint}")


def read_summary(run: RunPaths) -> Summary:
    """Read a run's run.json. Raises UsageError for what `summary` does not take."""
    try:
        document = strict_json.load(run.summary, UsageError, most=_MOST_BYTES)
    except UsageError as error:
        raise UsageError(
            f"{error}; it cannot be read as the summary of a run: run its command again (what is "
            "cached is not made again)"
        ) from None
    return with_tensors(summary(document, run.summary), read_tensors(run.tensors))


def read_report(file: Path) -> Summary:
    """Read a run.json, or what `qpipe report --format json` wrote, which has rows alone.

    Raises UsageError for a file that is neither.
    """
    document = strict_json.load(file, UsageError, most=_MOST_BYTES)
    if isinstance(document, dict) and "title" in document:
        document = {"run": document["title"], "nodes": [], **document}
    return summary(document, file)


def read_tensors(path: Path) -> Any:
    """Read tensors.json; nothing where an older qpipe wrote none.

    Raises UsageError for a file that is no JSON.
    """
    return strict_json.load(path, UsageError, most=_MOST_BYTES) if is_file(path) else {}


def with_tensors(run: Summary, document: Any) -> Summary:
    """A run with what tensors.json says: the tensors of each model, and what tensors lose."""
    models, lost = (_section(document, name) for name in ("models", "losses"))
    return run._replace(
        tensors={str(key): tensors.from_fact(of) for key, of in models.items()},
        losses={str(key): losses.from_fact(of) for key, of in lost.items()},
    )


def _section(document: Any, name: str) -> Mapping[Any, Any]:
    section = document.get(name) if isinstance(document, dict) else None
    return section if isinstance(section, dict) else {}


def _names(runs: Path) -> list[str]:
    if not is_folder(runs):
        return []
    try:
        folders = list(runs.iterdir())
    except OSError as error:
        raise UsageError(f"{runs}: this folder cannot be read ({error.strerror})") from None
    return [folder.name for folder in folders if is_file(RunPaths(folder).summary)]


def _none_yet(runs: Path) -> str:
    return f"there is no finished run in {runs} yet; --runs DIR names another folder"


def _newest(runs: Path) -> str:
    names = _names(runs)
    if not names:
        raise UsageError(_none_yet(runs))
    return max(names, key=lambda name: (RunPaths(runs / name).summary.stat().st_mtime_ns, name))


_STATUSES = ("ran", "cached", "failed", "skipped", "waiting")
_LONGEST_NAME, _LONGEST_TEXT = 1000, 1_000_000
_MOST_CELLS = 4_000_000


class _FieldKind:
    """A kind of values that a field may hold: its name in words, and its test."""

    def __init__(self, words: str, fits: Callable[[Any], bool]) -> None:
        self.words, self.fits = words, fits

    def __or__(self, other: _FieldKind) -> _FieldKind:
        return _FieldKind(
            f"{self.words} or {other.words}", lambda value: self.fits(value) or other.fits(value)
        )


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300 and math.isfinite(value)


def _is_text(value: Any, longest: int) -> bool:
    return isinstance(value, str) and len(value) <= longest


_NULL = _FieldKind("null", lambda value: value is None)
_BOOL = _FieldKind("true or false", lambda value: isinstance(value, bool))
_NAME = _FieldKind("a name", lambda value: _is_text(value, _LONGEST_NAME))
_TEXT = _FieldKind("text", lambda value: _is_text(value, _LONGEST_TEXT))
_NUMBER = _FieldKind("a number", _is_number)
_COUNT = _FieldKind("a count", lambda value: type(value) is int and 0 <= value < 1 << 63)
_STATUS = _FieldKind("one of " + ", ".join(_STATUSES), lambda value: value in _STATUSES)
_KEY = _FieldKind("a key", lambda v: isinstance(v, str) and bool(re.fullmatch("[0-9a-f]{64}", v)))
_LIST = _FieldKind("a list", lambda value: isinstance(value, list))
_TEXTS = _FieldKind(
    "a list of texts",
    lambda value: isinstance(value, list) and all(map(_TEXT.fits, value)),
)
_INTERVAL = _FieldKind(
    "two numbers",
    lambda value: isinstance(value, list) and len(value) == 2 and all(map(_is_number, value)),
)
_NUMBERS = _FieldKind(
    "a list of numbers",
    lambda value: isinstance(value, list) and all(map(_is_number, value)),
)
_COUNTS = _FieldKind(
    "a list of counts", lambda value: isinstance(value, list) and all(map(_COUNT.fits, value))
)
_BUCKETS = _FieldKind(
    "a list of five numbers each",
    lambda value: (
        isinstance(value, list) and all(_NUMBERS.fits(each) and len(each) == 5 for each in value)
    ),
)
_OBJECT = _FieldKind("an object", lambda value: isinstance(value, dict))
_SCHEMA = _FieldKind(f"a number up to {SCHEMA}", lambda v: type(v) is int and 1 <= v <= SCHEMA)
_UNIT = _FieldKind("a unit", lambda value: _is_text(value, 40))
_BETTER = _FieldKind("lower, higher or null", lambda value: value in ("lower", "higher", None))
_DIGITS = _FieldKind("0 to 15 or null", lambda v: v is None or (type(v) is int and 0 <= v <= 15))

_TOOLS = _FieldKind(
    "lists of versions by tool",
    lambda value: isinstance(value, dict) and all(map(_TEXTS.fits, value.values())),
)

_RUN = {
    "run": _NAME, "nodes": _LIST, "rows": _LIST, "status": _NAME | _NULL,
    "command": _TEXTS | _NULL, "folder": _TEXT | _NULL, "store": _TEXT | _NULL,
    "started": _NUMBER | _NULL,
    "qpipe": _NAME | _NULL, "python": _NAME | _NULL, "machine": _OBJECT | _NULL,
    "lock": _OBJECT | _NULL, "tools": _TOOLS | _NULL, "recipe": _TEXT | _NULL,
    "overrides": _TEXTS | _NULL, "multirun": _BOOL | _NULL, "keep_going": _BOOL | _NULL,
}  # fmt: skip
_NODE = {
    "name": _NAME, "stage": _NAME, "key": _KEY | _NULL, "status": _STATUS,
    "seconds": _NUMBER | _NULL, "inputs": _OBJECT | _NULL, "params": _OBJECT | _NULL,
}  # fmt: skip
_ROW = {
    "name": _NAME, "format": _NAME | _NULL, "reference": _BOOL, "size_bytes": _COUNT | _NULL,
    "bits_per_weight": _NUMBER | _NULL, "weights": _COUNT | _NULL, "seconds": _NUMBER | _NULL,
    "evaluate_seconds": _NUMBER | _NULL, "status": _STATUS, "key": _KEY | _NULL,
    "artifact": _TEXT | _NULL, "file": _TEXT | _NULL, "link": _TEXT | _NULL,
    "overrides": _TEXTS | _NULL,
    "notes": _TEXTS | _NULL, "error": _TEXT | _NULL, "measurements": _LIST, "model": _NAME | _NULL,
    "same_as": _NAME | _NULL, "computed_on": _OBJECT | _NULL,
}  # fmt: skip
_COMPUTED_ON = {
    "device": _NAME, "gpu": _NAME | _NULL, "instructions": _NAME | _NULL,
    "threads": _COUNT | _NULL,
}  # fmt: skip
_MEASUREMENT = {
    "stage": _NAME, "metric": _NAME | _NULL, "status": _STATUS, "key": _KEY | _NULL,
    "artifact": _TEXT | _NULL, "protocol": _NAME | _NULL, "text": _NAME | _NULL,
    "text_digest": _NAME | _NULL, "tokens": _COUNT | _NULL, "tokens_scored": _COUNT | _NULL,
    "tokens_sha256": _NAME | _NULL, "items": _COUNT | _NULL, "backend": _NAME | _NULL,
    "machine": _NAME | _NULL, "notes": _TEXTS | _NULL, "sampling": _NAME | _NULL,
    "interval": _INTERVAL | _NULL, "dominated_by": _OBJECT | _NULL, "seconds": _NUMBER | _NULL,
    "tokens_per_second": _NUMBER | _NULL, "scores": _OBJECT, "score_types": _OBJECT | _NULL,
    "distribution": _OBJECT | _NULL, "arithmetic": _OBJECT | _NULL, "unlike": _TEXT | _NULL,
}  # fmt: skip
_ARITHMETIC = {
    "device": _NAME, "precision": _NAME, "kernel": _NAME | _NULL,
    "kernel_precision": _NAME | _NULL, "gpu": _NAME | _NULL,
}  # fmt: skip
_RIVAL = {
    "digest": _NAME | _NULL, "format": _NAME | _NULL, "size_bytes": _COUNT | _NULL,
    "kld": _NUMBER | _NULL, "name": _NAME, "difference": _NUMBER, "difference_at_least": _NUMBER,
    "confidence": _NUMBER,
}  # fmt: skip
_DISTRIBUTION = {
    "score": _NAME, "edges": _NUMBERS, "counts": _COUNTS, "by_confidence": _BUCKETS,
}  # fmt: skip
_TYPE = {
    "unit": _UNIT, "better": _BETTER, "digits": _DIGITS, "detail": _BOOL, "compared": _BOOL,
    "heading": _NAME | _NULL,
}  # fmt: skip


class Summary(NamedTuple):
    """A run: its name, its nodes (name, stage, key, status, …), its rows, and what else run.json
    says of it, None for what an older one does not; by keys the tensors of its models, and what
    tensors lose, by the nodes that measured it."""

    run: str
    nodes: Sequence[Mapping[str, Any]]
    rows: Sequence[ModelRow]
    about: Mapping[str, Any]
    tensors: Mapping[str, Sequence[TensorDetail]] = {}
    losses: Mapping[str, Sequence[TensorLoss]] = {}


def summary(document: Any, file: Path) -> Summary:
    """Read a run from ``document``, the content of the run.json ``file``.

    Raises UsageError, naming file and field, for anything that qpipe does not write.
    """
    reader = _RunReader(file)
    if isinstance(document, dict) and "schema" in document:
        reader.schema(_number(document["schema"]))
    top = reader.fields(document, _RUN, "")
    rows = [reader.row(row, f"rows[{n}]") for n, row in enumerate(top["rows"])]
    scores = {score for row in rows for m in row["measurements"] for score in m["scores"]}
    if len(rows) * len(scores) > _MOST_CELLS:
        raise reader.wrong("rows", f"{len(rows)} times {len(scores)} scores", "a table to be read")
    nodes = [reader.fields(n, _NODE, f"nodes[{i}]") for i, n in enumerate(top["nodes"])]
    try:
        return Summary(top.pop("run"), nodes, [record.row(row) for row in rows], top)
    except ValueError as error:
        raise UsageError(f"{file}: {error}; run its command again") from None


def _number(schema: Any) -> Any:
    """The number of a form: 1 of run.json, and of ``qpipe.run/1``, the answer of `qpipe run`, or
    ``qpipe.comparison/1``, that of `qpipe report`."""
    form = r"qpipe\.(?:run|comparison)/(\d{1,9})"
    name = re.fullmatch(form, schema) if isinstance(schema, str) else None
    return schema if name is None else int(name[1])


class _RunReader:
    """Reads the fields of one file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def wrong(self, where: str, shown: str, kind: str) -> UsageError:
        """An error that names a field, its value, and the kind that it must have."""
        return UsageError(
            f"{self.file}: {where or 'it'} is {shown}, not {kind}; the file was written by another "
            "version of qpipe, or by something else: run its command again (what is cached is not "
            "made again)"
        )

    def schema(self, number: Any) -> None:
        """Raise UsageError for a schema number that is not known here."""
        if type(number) is int and number > SCHEMA:
            raise UsageError(
                f"{self.file}: schema is {quoted(number)}, and this qpipe reads up to {SCHEMA}: a "
                "newer one wrote the file; read it with that, or run its command again here"
            )
        if not _SCHEMA.fits(number):
            raise self.wrong("schema", quoted(number), _SCHEMA.words)

    def fields(self, value: Any, kinds: Mapping[str, _FieldKind], where: str) -> dict[str, Any]:
        """The known fields of an object. Raises UsageError for a value of another kind."""
        if not isinstance(value, dict):
            raise self.wrong(where, quoted(value), "an object")
        for name, kind in kinds.items():
            if not kind.fits(value.get(name)):
                shown = quoted(value[name]) if name in value else "missing"
                raise self.wrong(f"{where}.{name}".lstrip("."), shown, kind.words)
        return {name: value.get(name) for name in kinds}

    def row(self, value: Any, where: str) -> dict[str, Any]:
        """The known fields of a row."""
        row = self.fields(value, _ROW, where)
        if row["computed_on"] is not None:
            told = self.fields(row["computed_on"], _COMPUTED_ON, f"{where}.computed_on")
            row["computed_on"] = {name: v for name, v in told.items() if v is not None}
        measured = [
            self.measurement(m, f"{where}.measurements[{n}]")
            for n, m in enumerate(row["measurements"])
        ]
        lists = {name: row[name] or [] for name in ("overrides", "notes")}
        return {**row, **lists, "measurements": measured}

    def measurement(self, value: Any, where: str) -> dict[str, Any]:
        """The known fields of a measurement."""
        measured = self.fields(value, _MEASUREMENT, where)
        if measured["dominated_by"] is not None:
            by = self.fields(measured["dominated_by"], _RIVAL, f"{where}.dominated_by")
            if measured["interval"] is None:
                raise self.wrong(f"{where}.interval", "null", _INTERVAL.words)
            measured["dominated_by"] = by
        if measured["distribution"] is not None:
            place = f"{where}.distribution"
            measured["distribution"] = self.fields(measured["distribution"], _DISTRIBUTION, place)
        if measured["arithmetic"] is not None:
            place = f"{where}.arithmetic"
            measured["arithmetic"] = self.fields(measured["arithmetic"], _ARITHMETIC, place)
        for name, score in measured["scores"].items():
            if name in RESERVED or not fields.split(name)[0] or len(name) > _LONGEST_NAME:
                raise self.wrong(f"{where}.scores", f"{quoted(name)}: …", "scores by their names")
            if not (_NUMBER | _NULL).fits(score):
                raise self.wrong(f"{where}.scores[{quoted(name)}]", quoted(score), "a number")
        return {**measured, "score_types": self.types(measured, where)}

    def types(self, measured: Mapping[str, Any], where: str) -> dict[str, Any]:
        """The declarations of the scores that were measured; others are left out."""
        types = measured["score_types"] or {}
        names = {fields.split(key)[0] for key in measured["scores"]}
        place = f"{where}.score_types"
        return {n: self.fields(of, _TYPE, f"{place}.{n}") for n, of in types.items() if n in names}


def merge(summaries: Sequence[Summary]) -> Comparison:
    """The comparison of several runs: each model once with all that was measured of it, references
    first.

    Of a model that several runs made, the last run's row counts. Two models, and two rows, of one
    name are called by their runs too.
    """
    merged: dict[object, ModelRow] = {}
    own = told_apart([(run.run, run.nodes, run.rows) for run in summaries])
    for run, own_rows in zip(summaries, own, strict=True):
        for number, row in enumerate(own_rows):
            # A row without a key is a model that could not be made: nothing to be merged with.
            identity = row.key or (run.run, number)
            merged[identity] = _joined(merged.get(identity), replace(row, run=run.run))
    names = Counter((row.model, row.name) for row in merged.values())

    def called(row: ModelRow, name: str) -> str:
        return f"{name} {row.run}" if names[row.model, name] > 1 else name

    rows = [
        replace(row, name=called(row, row.name), same_as=row.same_as and called(row, row.same_as))
        for row in merged.values()
    ]
    return Comparison.of(sorted(rows, key=lambda row: not row.reference))


def _joined(old: ModelRow | None, new: ModelRow) -> ModelRow:
    if old is None:
        return new
    keys = {each.key for each in new.measurements}
    others = [each for each in old.measurements if each.key not in keys]
    return replace(new, measurements=(*others, *new.measurements))
