"""Models of several runs that have one name: told apart where they are not the same."""

from __future__ import annotations

from typing import Any

from qpipe.report.runs import Summary, merge
from qpipe.report.told_apart import told_apart
from qpipe.results.comparison import ModelRow


def run(name: str, source: str, *, model: str = "m", repo: str | None = None) -> Summary:
    """A run of a level and its reference, from the files of the key ``source``."""

    def node(stage: str, key: str, **inputs: str) -> dict[str, Any]:
        return {"name": f"{stage}[{model}]", "stage": stage, "key": key, "inputs": inputs,
                "params": {"repo": repo} if stage == "download" else {}}  # fmt: skip

    download = f"download[{model}]"
    nodes = [
        node("download", source * 64),
        node("convert", f"{source}1" * 32, checkpoint=download),
        node("quantize", f"{source}2" * 32, model=download),
    ]
    rows = [
        ModelRow(kind, kind, "ran", model=model, key=key["key"], reference=kind == "F16")
        for kind, key in zip(("F16", "Q8_0"), nodes[1:], strict=True)
    ]
    return Summary(name, nodes, rows, {})


def models(*runs: Summary) -> list[str | None]:
    """The models' names in order, each once."""
    return [*dict.fromkeys(row.model for row in merge(runs).rows)]


def test_three_models_of_three_runs_keep_their_names() -> None:
    three = [run(name, name, model=name) for name in "abc"]
    assert models(*three) == ["a", "b", "c"]
    rows = merge(three).rows
    assert len({(row.model, row.name) for row in rows}) == len(rows) == 6
    assert {row.name for row in rows} == {"F16", "Q8_0"}


def test_one_name_of_two_models() -> None:
    two = [run("first", "a"), run("second", "b")]
    assert models(*two) == ["m (first)", "m (second)"]
    assert {row.name for row in merge(two).rows} == {"F16", "Q8_0"}
    hub = [run("first", "a", repo="ann/m"), run("second", "b", repo="bob/m")]
    assert models(*hub) == ["ann/m", "bob/m"]
    commits = [run("first", "a", repo="ann/m"), run("second", "b", repo="ann/m")]
    assert models(*commits) == ["ann/m (aaaaaa)", "ann/m (bbbbbb)"]


def test_one_model_of_two_runs_is_one() -> None:
    assert models(run("first", "a"), run("second", "a")) == ["m"]


def test_runs_that_do_not_say_where_a_model_is_from() -> None:
    old, new = run("first", "a"), run("second", "b")
    strange: list[Any] = [None, {"model": []}, {"model": "nowhere"}, {"model": "quantize[m]"}]
    for inputs in strange:
        nodes = [{**node, "inputs": inputs} for node in old.nodes]
        kept = told_apart([("first", nodes, old.rows), ("second", new.nodes, new.rows)])
        assert [row.model for rows in kept for row in rows] == ["m"] * 4
