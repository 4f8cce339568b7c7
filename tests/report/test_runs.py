"""run.json of somebody else: every field is of its type, or named; and every text is only text."""

from __future__ import annotations

import copy
import io
import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from html.parser import HTMLParser
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from qpipe.core.layout import RunPaths
from qpipe.errors import UsageError
from qpipe.report.render import FORMS, render, to_terminal
from qpipe.report.runs import merge, read_summary, summary
from qpipe.results import record
from qpipe.results.comparison import Comparison
from qpipe.results.scores import Declaration
from tests.commands.stores import finished_run

FILE = Path("run.json")
TYPE: dict[str, Any] = asdict(Declaration(unit="%", better="higher", digits=3))
# What JSON can have in any place, and what Python's reader makes of more than JSON.
VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 1 << 63, 10**400, 0.5, 1e308, float("nan"), float("inf"), "", "a", "\0"),
    *([], [1, 2], [[]], ["a"], {}, {"x": 1}, "x" * 2000),
)


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Of a real run, with all that a measurement may have."""
    paths = finished_run(tmp_path_factory.mktemp("run"))
    found: dict[str, Any] = json.loads(paths.summary.read_bytes())
    measured = found["rows"][2]["measurements"][0]
    by = {"digest": "d", "format": "Q8_0", "name": "Q8_0", "confidence": 0.95}
    by |= {"difference": 0.5, "difference_at_least": 0.25}
    measured |= {"sampling": "stopped", "interval": [0.1, 0.2], "dominated_by": by, "items": 7}
    measured["scores"] |= {"acc[t]": 0.5, "acc_delta[t]": 0.1, "acc_delta_low[t]": 0.0}
    measured["scores"] |= {"acc_delta_high[t]": 0.2, "pp": 100.0, "pp_iqr": 2.0, "pp_ratio": 1.5}
    measured["score_types"] |= {"acc": TYPE, "pp": TYPE}
    return found


def places(value: Any, where: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to each value inside, itself included."""
    yield where
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(item, (*where, key))


def changed(document: dict[str, Any], where: tuple[Any, ...], value: Any) -> Any:
    if not where:
        return value
    made = copy.deepcopy(document)
    inner: Any = made
    for key in where[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[where[-1]]
    else:
        inner[where[-1]] = value
    return made


def drawn(document: Any) -> dict[str, str]:
    """In every format."""
    rows = merge([summary(document, FILE)])
    out = io.StringIO()
    to_terminal(rows, out)
    return {form: render(rows, form, title="t") for form in FORMS} | {"terminal": out.getvalue()}


def test_what_qpipe_writes_is_kept(tmp_path: Path) -> None:
    paths = finished_run(tmp_path)
    written = json.loads(paths.summary.read_bytes())
    read = record.rows(Comparison.of(read_summary(paths).rows))
    assert read == written["rows"]
    assert [list(row) for row in read] == [list(row) for row in written["rows"]]


@pytest.mark.slow
def test_any_value_anywhere_is_drawn_or_named(document: dict[str, Any]) -> None:
    refused = 0
    rows = [(), ("run",), ("rows",), ("nodes",), ("schema",)]
    ways = [w for w in places(document) if w[:2] in (("rows", 2), ("nodes", 0))]
    for where in (*rows, *ways):
        for value in (*VALUES, ...):
            if value is ... and not where:
                continue
            try:
                drawn(changed(document, where, value))
            except UsageError as error:
                refused += 1
                assert str(error).startswith("run.json: ")
                assert len(str(error)) < 500
    assert refused > len(ways) * len(VALUES) // 3


@pytest.mark.parametrize(
    ("where", "value", "words"),
    [
        (("rows", 0, "status"), '"><script>', r"rows\[0\].status is '\"><script>', not one of ran"),
        (("nodes", 0, "key"), "../../etc", r"nodes\[0\].key is '../../etc', not a key or null"),
        (("rows", 1, "seconds"), ..., "ok"),
        (("rows", 1, "measurements", 0, "scores", "name"), 1.0, r"scores is 'name': …, not scores"),
        (("rows", 1, "name"), ..., r"rows\[1\].name is missing, not a name"),
        (("rows", 1, "size_bytes"), 10**400, r"rows\[1\].size_bytes is 1000.* \(401 characters\)"),
        (("rows", 2, "measurements", 0, "interval"), None, r"interval is null, not two numbers"),
        (("schema",), 2, r"schema is 2, and this qpipe reads up to 1: a newer one wrote the file"),
        (("schema",), "1", r"schema is '1', not a number up to 1"),
        (
            ("rows", 2, "measurements", 0, "score_types", "acc", "better"),
            "more",
            r"score_types.acc.better is 'more', not lower, higher or null",
        ),
    ],
)
def test_what_is_wrong_is_named(
    document: dict[str, Any], where: tuple[Any, ...], value: Any, words: str
) -> None:
    if words == "ok":
        drawn(changed(document, where, value))
        return
    with pytest.raises(UsageError, match=words):
        drawn(changed(document, where, value))


class Tags(HTMLParser):
    """The tags of a page with the names of their attributes, in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, ...]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, *(name for name, _ in attrs)))


HOSTILE = "x<b onclick=a>\"'&amp;|`c`*e*[l](u)![i](u)\x1b[2J\r\n\n# h\u202e"


def test_text_is_only_text(document: dict[str, Any]) -> None:
    """Every text of a row, and every score's name, replaced by markup of all kinds: the page has
    the tags that it has with a harmless word in their places."""
    pages = drawn(_with(document, HOSTILE))
    harmless = drawn(_with(document, "harmless"))
    assert Tags(pages["html"]).found == Tags(harmless["html"]).found
    assert not re.search(r"(?<!\\)[<&`*]|\]\(", pages["md"])
    lines = pages["md"].splitlines()
    tables = [list(of) for table, of in groupby(lines, lambda line: line.startswith("|")) if table]
    assert sum(map(len, tables)) >= 2 + 3
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1
    assert sum(line.startswith("#") for line in lines) == 1
    for form in pages:
        assert not re.search("[\x1b\r\u202e]", pages[form]), form


def _with(document: dict[str, Any], word: str) -> dict[str, Any]:
    hostile = copy.deepcopy(document)
    row = hostile["rows"][2]
    row |= dict.fromkeys(("name", "format", "error", "artifact", "file"), word)
    row |= {"notes": [word], "overrides": [word]}
    measured = row["measurements"][0]
    texts = ("stage", "metric", "protocol", "text", "backend", "machine", "sampling")
    measured |= dict.fromkeys(texts, word)
    measured["dominated_by"] |= {"name": word}
    measured["scores"] |= {word: 1.0}
    measured["score_types"] |= {word: TYPE | {"unit": word[:40], "heading": word}}
    return hostile


def test_a_file_that_is_none(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path)
    for data, words in (
        (b'{"run": "\\ud800"}', "half of a character"),
        (b"[" * 5000, "nested too deeply"),
        (b"[]", r"run.json: it is \[\], not an object"),
        (b"", "not usable as JSON"),
    ):
        paths.summary.write_bytes(data)
        with pytest.raises(UsageError, match=words):
            read_summary(paths)


def test_more_cells_than_anybody_can_read(document: dict[str, Any]) -> None:
    """Each row with scores of its own: as many columns as rows, and the square of that as cells."""
    large = copy.deepcopy(document)
    row = large["rows"][1]
    large["rows"] = [
        row | {"measurements": [row["measurements"][0] | {"scores": {f"s{n}": 1.0}}]}
        for n in range(3000)
    ]
    with pytest.raises(UsageError, match=r"rows is 3000 times 3000 scores"):
        drawn(large)


def test_tensors_beside_a_run(tmp_path: Path) -> None:
    paths = finished_run(tmp_path)
    assert read_summary(paths).tensors == {}, "an older run has none"
    models: Any = {"a": {"blk.0.x.weight": "Q4_K 2x256 0.07", "y": "?"}, "b": None}
    paths.tensors.write_text(json.dumps({"models": models}))
    tensors = read_summary(paths).tensors
    assert [(each.name, each.error) for each in tensors["a"]] == [("blk.0.x.weight", 0.07)]
    assert tensors["b"] == ()
    others: list[Any] = [[], {}, {"models": 3}]
    for document in others:
        paths.tensors.write_text(json.dumps(document))
        assert read_summary(paths).tensors == {}
    paths.tensors.write_text("{")
    with pytest.raises(UsageError, match=r"tensors\.json"):
        read_summary(paths)
