"""Tables of published results read from YAML, and errors that say row, field and line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from qpipe import yamlbounds
from qpipe.errors import RecipeError, UsageError, nearest, quoted
from qpipe.published import schema
from qpipe.published.filtering import parse
from qpipe.published.schema import PublishedTable, PublishedValue
from qpipe.recipe.request import shipped_recipes
from qpipe.support.files import expanded, is_file, read_file

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MOST_BYTES, _MOST_VALUES, _MOST_DEPTH = 10 << 20, 200_000, 20
_MOST_ERRORS = 8
_TAG = "tag:yaml.org,2002:"

Location = tuple[str | int, ...]


class _Parts(dict[Location, int]):
    """The line of each part of a document, by the way to it."""

    def line(self, location: Sequence[str | int]) -> int:
        """The line of a part, or of the nearest that holds it."""
        for length in range(len(location), 0, -1):
            if tuple(location[:length]) in self:
                return self[tuple(location[:length])]
        return 1


@dataclass(frozen=True)
class TableFile:
    """A table with its file, for messages and for paths that start there."""

    path: Path
    name: str
    table: PublishedTable
    lines: Mapping[Location, int]

    @property
    def values(self) -> list[PublishedValue]:
        """Every value, row by row, with the erratum that says that it is wrong."""
        wrong = [
            (parse(each.rows).matches, each)
            for each in self.table.errata
            if each.rows and each.metric
        ]
        return [
            replace(
                value,
                erratum=next(
                    (e.says for matches, e in wrong if e.metric == value.name and matches(value)),
                    None,
                ),
            )
            for value in schema.values(self.table)
        ]

    def place(self, number: int, metric: str | None = None) -> str:
        """Return where a row, or its value of a metric, stands: ``table.yaml:41``."""
        here: Location = ("rows", number - 1)
        there = here if metric is None else (*here, "values", metric)
        return f"{self.path.name}:{self.lines.get(there, self.lines.get(here, 1))}"


def shipped_tables() -> dict[str, Path]:
    """The tables that come with qpipe, by name."""
    return {path.stem: path for path in sorted((shipped_recipes() / "published").glob("*.yaml"))}


def find_table(name: str) -> Path:
    """The file of a table: a name that ships with qpipe, or the path of a YAML file.

    Raises RecipeError if there is none.
    """
    path = expanded(name)
    if path.suffix in (".yaml", ".yml"):
        if is_file(path):
            return path
        raise RecipeError(f"{name}: there is no such file")
    tables = shipped_tables()
    if name in tables:
        return tables[name]
    raise RecipeError(
        f"there is no published table {name!r}; {nearest(name, tables, most=30)} A table of your "
        "own is given by the path of its YAML file"
    )


def load(path: Path) -> TableFile:
    """Read a table. Raises RecipeError for what is not one, with row, field and line of each
    fault."""
    data, parts = _document(path)
    try:
        table = PublishedTable.model_validate(data)
    except ValidationError as error:
        raise RecipeError("\n".join(_faults(path, data, parts, error))) from None
    faults = [*_contradictions(table)]
    if faults:
        raise RecipeError(
            "\n".join(f"{path}:{parts.line(at)}: {words}" for at, words in faults[:_MOST_ERRORS])
        )
    return TableFile(path, path.stem, table, parts)


def _document(path: Path) -> tuple[Any, _Parts]:
    text = read_file(path, RecipeError, most=_MOST_BYTES)
    try:
        yamlbounds.check(text, most_values=_MOST_VALUES, most_depth=_MOST_DEPTH)
        node = yaml.compose(text, Loader=_LOADER)
    except yamlbounds.TooLargeError as error:
        raise RecipeError(f"{path}: {error}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise RecipeError(f"{path}{line}: this is no valid YAML: {problem}") from None
    parts = _Parts()
    if node is None:
        raise RecipeError(f"{path}: the file is empty; a table has schema, title, source, rows")
    return _plain(node, (), parts, path), parts


def _plain(node: yaml.Node, at: Location, parts: _Parts, path: Path) -> Any:
    """Plain data with numbers as they are written, and the line of each part."""
    parts[at] = node.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*at, i), parts, path) for i, item in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        found: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.value in found:
                line = key.start_mark.line + 1
                what = "is there twice" if isinstance(key, yaml.ScalarNode) else "is no name"
                raise RecipeError(f"{path}:{line}: the key {quoted(str(key.value))} {what}")
            if key.tag == f"{_TAG}merge" and isinstance(value, yaml.MappingNode):
                merged |= _plain(value, at, parts, path)
                continue
            found[key.value] = _plain(value, (*at, key.value), parts, path)
        return {**merged, **found}
    if node.tag == f"{_TAG}null":
        return None
    if node.tag == f"{_TAG}bool":
        return node.value.lower() in ("true", "yes", "on")
    return node.value


def _faults(path: Path, data: Any, parts: _Parts, error: ValidationError) -> Iterator[str]:
    problems = error.errors(include_url=False)
    for problem in problems[:_MOST_ERRORS]:
        location = [each for each in problem["loc"] if each != "schema_"]
        at = f"{path}:{parts.line(location)}: "
        yield at + _row(data, location) + _words(location, dict(problem))
    if len(problems) > _MOST_ERRORS:
        yield f"and {len(problems) - _MOST_ERRORS} more"


def _row(data: Any, location: Sequence[str | int]) -> str:
    """The row in which a fault is, in words."""
    if location[:1] != ["rows"] or len(location) < 2:
        return ""
    number = int(location[1])
    row = data["rows"][number]
    called = row.get("format") if isinstance(row, Mapping) else None
    return f"row {number + 1}{f' ({called})' if called else ''}: "


def _words(location: Sequence[str | int], problem: dict[str, Any]) -> str:
    inside = location[2:] if location[:1] == ["rows"] else location
    field = ".".join(str(each) for each in inside if each != "value") or "the table"
    if problem["type"] == "extra_forbidden":
        return f"{field}: unknown field; {nearest(str(location[-1]), _fields(location[:-1]))}"
    if problem["type"] == "missing":
        if location[-1:] == ["revision"]:
            return (
                "source.revision is missing: say what fixes the document's text (a commit, the "
                "version of a paper, a release); null if it has none"
            )
        return f"{field} is missing"
    if problem["type"] == "value_error":
        return f"{field}: {problem['ctx']['error']}"
    if problem["type"].startswith(("decimal", "finite")):
        return f"{field}: {_shown(problem['input'])} is no number"
    if problem["type"] == "too_short":
        return f"{field}: there are none"
    message = problem["msg"][0].lower() + problem["msg"][1:]
    return f"{field}: {quoted(problem['input'])} is not right: {message}"


def _shown(value: object) -> str:
    """A value as YAML has it."""
    words = {None: "null", True: "true", False: "false"}
    return words[value] if value is None or isinstance(value, bool) else quoted(value)


def _fields(location: Sequence[str | int]) -> list[str]:
    """The fields of the part at a place of a table."""
    models: dict[str, type[BaseModel]] = {
        "source": schema.Source,
        "errata": schema.Erratum,
        "metrics": schema.Metric,
        "shared": schema.Conditions,
        "rows": schema.Row,
        "values": schema.Printed,
        "tolerances": schema.Tolerance,
    }
    inside = [models[str(each)] for each in location if str(each) in models]
    model = inside[-1] if inside else PublishedTable
    return [field.alias or name for name, field in model.model_fields.items()]


def _contradictions(table: PublishedTable) -> Iterator[tuple[Location, str]]:
    """Contradictions: a metric that is not declared, a unit that its score has not, no model."""
    for name, metric in table.metrics.items():
        if (metric.of or name) == "size" and metric.unit not in schema.BYTES:
            units = ", ".join(schema.BYTES)
            yield ("metrics", name), f"metrics.{name}.unit: a size has one of {units}"
        for part in metric.parts:
            if part not in table.metrics or part == name:
                near = nearest(part, table.metrics)
                yield (
                    ("metrics", name),
                    f"metrics.{name}.parts: there is no metric {part!r}; {near}",
                )
    for number, erratum in enumerate(table.errata):
        yield from _of_erratum(table, number, erratum)
    for number, row in enumerate(table.rows):
        called = f"row {number + 1} ({row.format}): "
        for name in row.values:
            if name not in table.metrics:
                near = nearest(name, table.metrics)
                at: Location = ("rows", number, "values", name)
                yield at, f"{called}values.{name}: metrics does not say what it is; {near}"
        if row.model is None and table.shared.model is None:
            yield ("rows", number), f"{called}model is missing, here and in shared"


def _of_erratum(
    table: PublishedTable, number: int, erratum: schema.Erratum
) -> Iterator[tuple[Location, str]]:
    """An erratum of rows that are not there, or of a metric that is none."""
    at: Location = ("errata", number)
    if erratum.metric is not None and erratum.metric not in table.metrics:
        near = nearest(erratum.metric, table.metrics)
        yield at, f"errata.{number}.metric: there is no metric {erratum.metric!r}; {near}"
    if erratum.rows is None:
        return
    try:
        chosen = parse(erratum.rows, f"errata.{number}.rows:")
    except UsageError as error:
        yield at, str(error)
        return
    if not any(chosen.matches(value) for value in schema.values(table)):
        yield at, f"errata.{number}.rows: {erratum.rows!r} matches no row"
