"""A run as a table of published results: what somebody else needs to reproduce it.

Every model that a job made is a row, with the run's recipe and the job's overrides. References are
left out: other jobs lead to them. Figures are rounded to a thousandth of their standard error.
"""

from __future__ import annotations

import itertools
import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from qpipe.errors import UsageError
from qpipe.published.schema import SCHEMA
from qpipe.recipe.request import shipped_recipes
from qpipe.report.runs import Summary
from qpipe.results.comparison import ModelRow
from qpipe.results.measurement import Evaluation
from qpipe.results.scores import Score
from qpipe.support.files import exists, is_file

# No figure of qpipe's is the same to the last bit on all processors; a published table of a run
# must say how far apart they may be, and its author can have measured it on one machine alone.
ASSUMED = "assumed: other processors and versions sum in another order"
_SPREADS = {"ppl": "0.001", "word_ppl": "0.001", "bits_per_byte": "0.001"}
_OTHER_SPREAD = "0.02"
_SIGNIFICANT = 6
_PATH = re.compile(r"(?!/)[\w./ -]*[./][\w./ -]*")  # what needs no quotes
_STATES = ("kld_noise", "others_cpu_pct")  # of the measurement, not of the model


def table_of(run: Summary, folder: Path | None = None) -> str:
    """The YAML of a table with the figures of a run, to be written into ``folder`` (the current
    one): a recipe that is a file is named from there.

    Raises UsageError for a run of an older qpipe, and for one that made nothing.
    """
    about = run.about
    if about.get("recipe") is None or about.get("overrides") is None:
        raise UsageError(f"run {run.run}: an older qpipe made it, and kept no recipe in run.json")
    if not _has_recipe(str(about["recipe"])):
        raise UsageError(
            f"run {run.run}: {about['recipe']!r} is no recipe that others can run; of a run of "
            "`qpipe repro` the table is what to pass on, or a bundle (`--bundle FOLDER`)"
        )
    folder = (folder or Path.cwd()).resolve()
    rows = [_seen_from(folder, row, about) for row in run.rows if _is_published(row)]
    if not rows:
        raise UsageError(
            f"run {run.run} made no model that its own settings name; nothing to publish"
        )
    common = _common([row.overrides for row in rows])
    writer = _Metrics()
    names = _names(rows)
    entries = [_entry(row, name, common, writer) for row, name in zip(rows, names, strict=True)]
    table = {
        "schema": SCHEMA,
        "title": f"{', '.join(dict.fromkeys(map(_model, rows)))}: run {run.run}",
        "source": {"document": f"qpipe run {run.run}", "revision": run.run, "date": _date(about)},
        "metrics": writer.metrics,
        "shared": _shared(about, common, folder),
        "rows": entries,
    }
    text: str = yaml.dump(table, Dumper=_Dumper, sort_keys=False, width=98, allow_unicode=True)
    return text


def _names(rows: Sequence[ModelRow]) -> list[str]:
    """The formats of rows, with what sets them apart where several of a model have the same."""
    formats = Counter((row.model, row.format) for row in rows)
    return [
        f"{row.format} ({row.name})" if formats[row.model, row.format] > 1 else row.format or ""
        for row in rows
    ]


def _is_published(row: ModelRow) -> bool:
    """True for a model that a job made, and of two with the same tensors for the first."""
    made = row.artifact is not None and bool(row.overrides)
    return made and not row.reference and row.same_as is None


def _seen_from(folder: Path, row: ModelRow, about: Mapping[str, Any]) -> ModelRow:
    """A row whose overrides name files from ``folder``: a recipe's own sweep names them from the
    recipe's, a command from where it was given."""
    given = Path(about.get("folder") or ".")
    recipe = given / Path(str(about["recipe"])).parent

    def seen(override: str) -> str:
        name, _, path = override.partition("=")
        if not _PATH.fullmatch(path):
            return override
        files = [file for file in (recipe / path, given / path) if exists(file)]
        return f"{name}={os.path.relpath(files[0], folder)}" if files else override

    return replace(row, overrides=tuple(map(seen, row.overrides)))


def _shared(about: Mapping[str, Any], common: Sequence[str], folder: Path) -> dict[str, Any]:
    machine = about.get("machine") or {}
    hardware = ", ".join(
        f"{machine[name]}{' cores' if name == 'cores' else ''}"
        for name in ("processor", "cores", "system")
        if machine.get(name)
    )
    return {
        "engine": "qpipe",
        "version": about.get("qpipe"),
        **({"hardware": hardware} if hardware else {}),
        "recipe": _recipe(about, folder),
        "overrides": [*common],
    }


def _has_recipe(name: str) -> bool:
    """True for a recipe's file, and for the name of one that ships."""
    return name.endswith((".yaml", ".yml")) or is_file(shipped_recipes() / f"{name}.yaml")


def _recipe(about: Mapping[str, Any], folder: Path) -> str:
    """The recipe's name, or the way to its file from ``folder``."""
    recipe = str(about["recipe"])
    if not recipe.endswith((".yaml", ".yml")):
        return recipe
    file = Path(about.get("folder") or ".", recipe)
    return os.path.relpath(file, folder)


def _entry(row: ModelRow, called: str, common: Sequence[str], writer: _Metrics) -> dict[str, Any]:
    own = [override for override in row.overrides if override not in common]
    values: dict[str, Any] = {}
    if row.size_bytes:
        values[writer.size()] = row.size_bytes
    if row.bits_per_weight:
        values[writer.bits()] = _Figure(_rounded(row.bits_per_weight))
    for evaluation in row.measurements:
        for name, value in writer.values(evaluation):
            values.setdefault(name, value)
    unlike = dict.fromkeys(each.unlike for each in row.measurements if each.unlike)
    note = {"note": f"computed in {'; '.join(unlike)}"} if unlike else {}
    row_of = {"model": _model(row), "format": called, "overrides": own, **note, "values": values}
    return _OnALine(row_of)


def _model(row: ModelRow) -> str:
    """The source that a row's overrides name, else what the model is called."""
    sources = [o.partition("=")[2] for o in row.overrides if o.startswith("model.source=")]
    named = re.sub(r"\\(.)", r"\1", sources[-1].strip("'\"")) if sources else None  # Hydra's
    return named or row.model or row.name


class _Metrics:
    """The metrics of a table, as values of them come up: a score that was measured in two ways is
    two of them."""

    def __init__(self) -> None:
        self.metrics: dict[str, dict[str, Any]] = {}

    def size(self) -> str:
        """The metric of the size of what was made."""
        self.metrics.setdefault("size", {"unit": "B", "counts": "file"})
        return "size"

    def bits(self) -> str:
        """The metric of bits per weight."""
        self.metrics.setdefault("bpw", {"unit": "bits"})
        return "bpw"

    def values(self, evaluation: Evaluation) -> Iterator[tuple[str, Any]]:
        """The values of a measurement, by the names of their metrics."""
        for score in evaluation.measurement.scores:
            if score.detail or score.name in _STATES:
                continue
            name = self._named(score.key, score, evaluation)
            yield name, _figures(score.value, score.stderr, score.interval or (None, None))
            if (delta := score.delta) is not None and not score.where:
                name = self._named(f"{score.key}_delta", score, evaluation)
                yield name, _figures(delta.value, delta.stderr, (delta.low, delta.high))

    def _named(self, key: str, score: Score, evaluation: Evaluation) -> str:
        """The name of a score's metric, new if it was not measured so yet."""
        measurement = evaluation.measurement
        speed = measurement.protocol is None and measurement.on.tokens_sha256 is None
        facts = {
            "of": key,
            "unit": None if key.endswith("_delta") else score.unit or None,
            "better": score.better,
            "protocol": measurement.protocol,
            "text": measurement.on.text,
            "tokens_sha256": measurement.on.tokens_sha256,
            "tolerances": None if speed else [_tolerance(key)],
        }
        facts = {name: value for name, value in facts.items() if value is not None}
        others = (f"{key} ({number})" for number in itertools.count(2))
        name = next(
            name
            for name in itertools.chain([key], others)
            if _but_harness(self.metrics.setdefault(name, facts)) == facts
        )
        self._note_harness(name, measurement.by)
        return name

    def _note_harness(self, name: str, by: str | None) -> None:
        """Add to a metric what computed, once."""
        program = (by or "").partition(" (")[0]
        known = self.metrics[name].get("harness", "").split(", ")
        if program and program not in known:
            harness = ", ".join(filter(None, (*known, program)))
            self.metrics[name] = {**self.metrics[name], "harness": harness}


def _but_harness(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if name != "harness"}


def _tolerance(key: str) -> dict[str, Any]:
    if key.endswith("_delta"):
        return {"absolute": _Figure("0.005"), "why": ASSUMED}
    if key.endswith("_pct") or "[" in key:
        return {"absolute": _Figure("0.5" if key.endswith("_pct") else "0.02"), "why": ASSUMED}
    return {"relative": _Figure(_SPREADS.get(key, _OTHER_SPREAD)), "why": ASSUMED}


def _figures(
    value: float, stderr: float | None, interval: tuple[float | None, float | None]
) -> Any:
    """A value with its interval, else with its standard error, where it has one."""
    low, high = interval
    width = stderr or (high - low if high is not None and low is not None else None)
    number = _Figure(_rounded(value, width))
    if width and low is not None and high is not None:
        return {"value": number, "interval": [_Figure(_rounded(end, width)) for end in (low, high)]}
    return {"value": number, "stderr": _Figure(_rounded(stderr, stderr))} if stderr else number


def _rounded(value: float, width: float | None = None) -> str:
    """A figure to a thousandth of its standard error, else with six digits."""
    if not width:
        return f"{Decimal(f'{value:.{_SIGNIFICANT}g}'):f}"
    places = max(0, 3 - math.floor(math.log10(width)))
    return f"{value:.{places}f}"


def _common(overrides: Sequence[Sequence[str]]) -> list[str]:
    """The overrides that all jobs have."""
    return [each for each in overrides[0] if all(each in others for others in overrides)]


def _date(about: Mapping[str, Any]) -> str:
    return datetime.fromtimestamp(about["started"], tz=timezone.utc).strftime("%Y-%m-%d")


class _Figure(str):
    """A number that is written as it is."""


class _OnALine(dict[str, Any]):
    """A mapping in braces, however long."""


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]  # yaml is untyped
    """Writes rows as a person would: values of a row each on a line, figures without quotes."""


def _figure(dumper: yaml.SafeDumper, figure: _Figure) -> yaml.Node:
    kind = "int" if re.fullmatch(r"-?\d+", figure) else "float"
    return dumper.represent_scalar(f"tag:yaml.org,2002:{kind}", str(figure))


def _mapping(dumper: yaml.SafeDumper, mapping: dict[str, Any]) -> yaml.Node:
    flat = all(not isinstance(value, dict) for value in mapping.values())
    short = flat and sum(len(str(each)) for item in mapping.items() for each in item) < 80
    return dumper.represent_mapping("tag:yaml.org,2002:map", mapping.items(), flow_style=short)


def _sequence(dumper: yaml.SafeDumper, items: list[Any]) -> yaml.Node:
    flat = all(not isinstance(item, (dict, list)) for item in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=flat)


_Dumper.add_representer(_Figure, _figure)


def _braces(dumper: yaml.SafeDumper, mapping: _OnALine) -> yaml.Node:
    return dumper.represent_mapping("tag:yaml.org,2002:map", mapping.items(), flow_style=True)


_Dumper.add_representer(_OnALine, _braces)
_Dumper.add_representer(dict, _mapping)
_Dumper.add_representer(list, _sequence)
_Dumper.ignore_aliases = lambda self, data: True
