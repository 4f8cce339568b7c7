from __future__ import annotations

import re
from dataclasses import replace

from qpipe.report.html.node_graph import drawn, groups
from tests.report.html.sweeps import LEVELS, run_of, sweep


def test_a_box_for_each_step_of_each_model() -> None:
    made = sweep({"small": 10**9, "large": 8 * 10**9})
    run = run_of(made)
    boxes = groups(run.nodes, run.rows)
    assert [(box.model, box.step) for box in boxes] == [
        *[(model, step) for model in ("small", "large") for step in STEPS],
        ("large", "sensitivity"),
        ("", "text"),
    ]
    quantized = boxes[2]
    assert quantized.counts == {"ran": len(LEVELS)}
    seconds = [n["seconds"] for n in run.nodes if n["name"].startswith("quantize[small")]
    assert quantized.made == sum(seconds)
    assert quantized.saved == 0
    assert (boxes[0].made, boxes[0].saved, boxes[0].counts) == (0, 3.0, {"cached": 1})
    assert boxes[3].sources == {("quantize", "small"), ("convert", "small"), ("text", "")}


STEPS = ("download", "convert", "quantize", "kld")


def test_the_boxes_are_a_list_in_words() -> None:
    run = run_of(sweep({"a <b>": 10**9}))
    text = drawn(groups(run.nodes, run.rows), "first")
    items = [re.sub(r"<[^>]+>", " ", item).split() for item in re.findall("<li.*?</li>", text)]
    assert ["convert", "a", "&lt;b&gt;", "1", "cached", "saved", "4.0", "s"] in [
        [word.replace("4.00", "4.0") for word in item] for item in items
    ]
    assert all("data-from" in item for item in re.findall("<li.*?</li>", text))
    assert "a <b>" not in text


def test_a_run_that_does_not_say_what_nodes_are_made_of() -> None:
    run = run_of(sweep({"a": 10**9}))
    nodes = [{**node, "inputs": None} for node in run.nodes]
    assert groups(nodes, run.rows) == []
    assert drawn([], "first") == ""


def test_what_failed_has_no_model_of_its_own() -> None:
    run = run_of(sweep({"a": 10**9}))
    nodes = [{**node, "key": None, "status": "failed"} for node in run.nodes]
    boxes = groups(nodes, [replace(row, key=None) for row in run.rows])
    assert {box.model for box in boxes} == {""}
    assert 'class="box failed"' in drawn(boxes, "first")
