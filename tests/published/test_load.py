"""Reading tables of published results: digits are kept, and each fault says row, field and line."""

from __future__ import annotations

import json
from decimal import Decimal
from importlib import resources
from pathlib import Path

import pytest

from qpipe.errors import RecipeError
from qpipe.published import schema
from qpipe.published.load import find_table, load

TABLE = """\
schema: 1
title: Two formats
source: {document: A page, revision: null}
metrics:
  size: {unit: GiB, counts: tensors}
  ppl: {protocol: llamacpp-512, overrides: [evaluate.chunks=4]}
shared: {model: OWNER/NAME, recipe: llama, revision: 12e4567}
rows:
  - {format: Q4_0, values: {size: 4.10, ppl: {value: 6.2, stderr: 0.03}}}
  - {format: Q4_1, overrides: [quantize.type=Q4_1], values: {size: 4}}
"""


ERRATUM = "errata: [{{says: 4 is 5, rows: {}}}]\nmetrics:"


def table(folder: Path, text: str = TABLE) -> Path:
    path = folder / "table.yaml"
    path.write_text(text)
    return path


def test_values_know_their_digits_and_all_that_holds_of_them(tmp_path: Path) -> None:
    read = load(table(tmp_path))
    first, second, third = read.values
    assert (first.name, first.kind, first.printed.value) == ("size", "sizes", Decimal("4.10"))
    assert [value.rounding for value in read.values] == [
        Decimal("0.005"),
        Decimal("0.05"),
        Decimal("0.5"),
    ]
    assert second.overrides == ("evaluate.chunks=4",)
    assert third.overrides == ("quantize.type=Q4_1",)
    assert third.row.revision == "12e4567"
    assert [value.recipe for value in read.values] == ["llama"] * 3
    assert read.place(2, "size") == "table.yaml:10"


def test_a_row_may_be_comparable_in_some_kinds_alone(tmp_path: Path) -> None:
    why = "not_comparable: no text, not_comparable_of: [quality]"
    first, second, third = load(
        table(tmp_path, TABLE.replace("format: Q4_0", f"format: Q4_0, {why}"))
    ).values
    assert [each.not_comparable for each in (first, second, third)] == [None, "no text", None]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (", revision: null", "", "table.yaml:3: source.revision is missing"),
        ("size: 4.10", "size: big", "table.yaml:9: row 1 (Q4_0): values.size: 'big' is no number"),
        ("size: 4.10", "size: null", "row 1 (Q4_0): values.size: null is no number"),
        ("size: 4.10", "size: 1e400", "row 1 (Q4_0): values.size: 1E+400 is not right"),
        ("size: 4.10", "size: 1e-400", "row 1 (Q4_0): values.size: 1E-400 is not right"),
        ("null}", "null, date: 2026-13-45}", "table.yaml:3: source: there is no date '2026-13-45'"),
        ("null}", "null, date: 26-1-4}", "table.yaml:3: source: there is no date '26-1-4'"),
        ("size: 4.10", "size: .nan", "row 1 (Q4_0)"),
        ("shared:", "share:", "table.yaml:7: share: unknown field; did you mean 'shared'?"),
        ("model: OWNER/NAME, ", "", "table.yaml:10: row 2 (Q4_1): model is missing"),
        ("size: 4}", "siz: 4}", "table.yaml:10: row 2 (Q4_1): values.siz"),
        ("GiB", "gib", "table.yaml:5: metrics.size.unit"),
        ("stderr", "stder", "did you mean 'stderr'?"),
        ("schema: 1", "schema: 2", "table.yaml:1: schema"),
        ("title: Two formats", "title: Two formats\ntitle: Three", "table.yaml:3: the key 'title'"),
        (
            "metrics:",
            ERRATUM.format("from=Q4_0"),
            "table.yaml:4: errata.0.rows: 'from=Q4_0': there is no",
        ),
        ("metrics:", ERRATUM.format("format=Q4_2"), "errata.0.rows: 'format=Q4_2' matches no row"),
        ("metrics:", ERRATUM.format("format=Q4_1, metric: siz"), "there is no metric 'siz'"),
        ("rows:", "rows: [", "table.yaml:9: this is no valid YAML"),
        ("value: 6.2", "value: 6.2, interval: [7, 8]", "the value is not in its interval"),
    ],
)
def test_faults_say_where(tmp_path: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(RecipeError) as error:
        load(table(tmp_path, TABLE.replace(old, new, 1)))
    assert said in str(error.value)


def test_metrics_may_share_fields_as_yaml_has_it(tmp_path: Path) -> None:
    shared = TABLE.replace(
        "  size:",
        "  pp: &speed {unit: t/s, hardware: A card}\n  tg: {<<: *speed, unit: s}\n  size:",
    )
    metrics = load(table(tmp_path, shared)).table.metrics
    assert (metrics["tg"].hardware, metrics["tg"].unit) == ("A card", "s")
    assert metrics["pp"].unit == "t/s"


def test_a_table_is_found_by_name_or_path(tmp_path: Path) -> None:
    assert find_table(str(table(tmp_path))) == tmp_path / "table.yaml"
    with pytest.raises(RecipeError, match="no published table"):
        find_table("no-such-table")


def test_the_schema_that_ships_is_that_of_the_code() -> None:
    shipped = resources.files("qpipe.published").joinpath("table.schema.json").read_bytes()
    assert json.loads(shipped) == schema.json_schema()
