"""run.schema.json, which is shipped: what qpipe writes is as it says, and nothing else is."""

from __future__ import annotations

import copy
import json
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from qpipe.report import runs
from qpipe.results.comparison import SCHEMA
from tests.commands.stores import finished_run
from tests.results.validating import faults

RUNS = Path(__file__).parent.parent / "data" / "runs"
SCHEMAS: dict[str, Any] = json.loads(
    resources.files("qpipe.results").joinpath("run.schema.json").read_bytes()
)


def wrong(document: Any) -> list[str]:
    return faults(document, SCHEMAS, SCHEMAS)


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    paths = finished_run(tmp_path_factory.mktemp("run"))
    found: dict[str, Any] = json.loads(paths.summary.read_bytes())
    return found


def test_a_run_is_as_it_says(document: dict[str, Any]) -> None:
    assert document["schema"] == SCHEMA == SCHEMAS["properties"]["schema"]["const"]
    assert wrong(document) == []


@pytest.mark.parametrize("name", ["all", "dominated"])
def test_runs_of_all_kinds_are_once_they_are_written_again(name: str) -> None:
    """Of tasks, speed, kld and levels that ended early, measured for real."""
    from qpipe.results import record
    from qpipe.results.comparison import Comparison

    old = json.loads((RUNS / f"{name}.json").read_bytes())
    assert any("schema: missing" in fault for fault in wrong(old))
    read = runs.summary(old, Path("run.json"))
    new = {**old, "rows": record.rows(Comparison.of(read.rows)), "schema": SCHEMA}
    assert wrong(new) == []
    again = runs.summary(json.loads(json.dumps(new)), Path("run.json"))
    assert again.rows == read.rows, "what is declared says the same as what was known by name"


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("schema",), 2),
        (("rows", 0, "status"), "fine"),
        (("rows", 0, "size_bytes"), -1),
        (("rows", 0, "ppl"), "10"),
        (("rows", 0, "key"), "ab"),
        (("rows", 0, "measurements", 0, "scores", "ppl"), True),
        (("rows", 0, "measurements", 0, "score_types", "ppl", "better"), "more"),
        (("rows", 0, "measurements", 0, "of_my_own"), 1),
        (("nodes", 0, "seconds"), None),
    ],
)
def test_what_is_not_is_told(document: dict[str, Any], where: tuple[Any, ...], value: Any) -> None:
    changed = copy.deepcopy(document)
    inner: Any = changed
    for key in where[:-1]:
        inner = inner[key]
    inner[where[-1]] = value
    assert wrong(changed)


def test_the_reader_reads_every_field_that_it_describes() -> None:
    described = SCHEMAS["$defs"]
    made_anew = {"dominated_by", "cut_short", "unsteady", "unlike", "protocol", "run", "path"}
    assert runs._ROW.keys() == described["row"]["properties"].keys() - made_anew
    assert runs._MEASUREMENT.keys() == described["measurement"]["properties"].keys()
    assert runs._RIVAL.keys() == described["rival"]["properties"].keys()
    assert runs._COMPUTED_ON.keys() == described["computed_on"]["properties"].keys()
    assert runs._ARITHMETIC.keys() == described["arithmetic"]["properties"].keys()
    assert runs._TYPE.keys() == described["score_type"]["properties"].keys()
