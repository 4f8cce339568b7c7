"""Levels in a chain by size: which measurement is given which, and what stays as it was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from qpipe.core.graph import Node, PlannedJob, Runtime
from qpipe.errors import RecipeError
from qpipe.gguf.bits_estimate import bits
from qpipe.gguf.mixture import TypeRequest
from qpipe.recipe.draft import ChainRoles
from qpipe.recipe.draft_builder import draft
from qpipe.recipe.planner import ChainedMeasurement, chain_levels
from tests.recipe.jobs import MODEL, TEXT, job


def _node(name: str, stage: str, inputs: Mapping[str, Node], **params: Any) -> Node:
    sources = {role: node.id for role, node in inputs.items()}
    return Node(name, stage, 1, {"name": name, **params}, {}, sources, Runtime(entry="x:y"))


ROLES = ChainRoles(model="model", measured="measured", rivals="rivals")
FRONTIER = Node("kld_frontier", "frontier", 1, {}, {}, {}, Runtime(entry="x:z"))


def _sweep(
    sizes: Mapping[str, float], **params: Any
) -> tuple[dict[str, Node], list[PlannedJob], list[ChainedMeasurement]]:
    text = _node("text", "download", {})
    nodes, jobs, levels = {text.id: text}, [], []
    for name, size in sizes.items():
        model = _node(name, "quantize", {})
        kld = Node(
            "kld",
            "evaluate",
            1,
            params,
            {},
            {"model": model.id, "tokens": text.id},
            Runtime(entry="x:y"),
        )
        after = _node(f"after {name}", "toy", {"of": kld})
        nodes |= {node.id: node for node in (model, kld, after)}
        jobs.append(
            PlannedJob(name, [], {"quantize": model.id, "kld": kld.id, "after": after.id}, None)
        )
        levels.append(ChainedMeasurement(size, kld, FRONTIER, ROLES))
    return nodes, jobs, levels


def test_each_level_is_given_those_that_are_smaller() -> None:
    nodes, jobs, levels = _sweep({"Q8_0": 8.5, "Q4_0": 4.6, "Q5_1": 6.0})
    made, planned = chain_levels(nodes, jobs, levels)
    graph = {node.id: node for node in made}
    of = {job.label: {stage: graph[node] for stage, node in job.nodes.items()} for job in planned}
    assert of["Q4_0"]["kld"] == levels[1].measurement, "the smallest is what it is alone"
    assert of["Q5_1"]["kld"].inputs["rivals"] == of["Q4_0"]["kld_frontier"].id
    assert of["Q8_0"]["kld"].inputs["rivals"] == of["Q5_1"]["kld_frontier"].id
    assert "kld_frontier" not in of["Q8_0"], "nobody asks for it"
    assert of["Q5_1"]["kld_frontier"].inputs == {
        "measured": of["Q5_1"]["kld"].id,
        "model": of["Q5_1"]["quantize"].id,
        "rivals": of["Q4_0"]["kld_frontier"].id,
    }
    assert of["Q4_0"]["kld_frontier"].inputs.keys() == {"measured", "model"}
    assert of["Q8_0"]["after"].inputs["of"] == of["Q8_0"]["kld"].id
    assert levels[0].measurement.id not in graph
    seen: set[str] = set()
    for node in made:
        assert seen >= set(node.inputs.values())
        seen.add(node.id)


def test_the_order_of_the_jobs_makes_no_difference() -> None:
    one, _ = chain_levels(*_sweep({"Q8_0": 8.5, "Q4_0": 4.6, "Q5_1": 6.0}))
    other, _ = chain_levels(*_sweep({"Q5_1": 6.0, "Q8_0": 8.5, "Q4_0": 4.6}))
    assert {node.id for node in one} == {node.id for node in other}


def test_what_is_measured_otherwise_is_no_rival() -> None:
    small, large = _sweep({"Q4_0": 4.6}, chunks=1), _sweep({"Q8_0": 8.5}, chunks=2)
    nodes, jobs = small[0] | large[0], [*small[1], *large[1]]
    made, planned = chain_levels(nodes, jobs, [*small[2], *large[2]])
    assert {node.id for node in made} == nodes.keys()
    assert planned == jobs


def test_one_model_of_two_jobs_is_one_level() -> None:
    nodes, jobs, levels = _sweep({"Q4_0": 4.6})
    made, _ = chain_levels(nodes, [*jobs, *jobs], [*levels, *levels])
    assert [node.id for node in made] == list(nodes)


def test_bits_of_a_typical_model() -> None:
    """What llama.cpp's tools/quantize/README.md says of Llama 3.1 8B, whose norms count too."""
    known = {"Q2_K": 3.1593, "Q4_K_S": 4.6672, "Q4_K_M": 4.8944, "Q5_K_M": 5.7036, "Q8_0": 8.5008}
    for name, expected in known.items():
        assert bits(TypeRequest.of(name)) == pytest.approx(expected, abs=2e-3)
    damaged = TypeRequest.of("Q8_0", tensor_types={"ffn_down": "Q2_K", "no_such_tensor": "F16"})
    assert bits(TypeRequest.of("Q4_K_M")) < bits(damaged) < bits(TypeRequest.of("Q8_0"))


def _recipe(metric: str, **quantize: Any) -> dict[str, Any]:
    stages = {
        "download": {"uses": "download", "with": {"source": MODEL}},
        "tokens": {"uses": "tokens", "needs": {"model": "download"}, "with": {"text": TEXT}},
        "logprobs": {
            "uses": "evaluate",
            "needs": {"model": "download", "tokens": "tokens"},
            "with": {"metric": "logprobs"},
        },
        "quantize": {"uses": "quantize", "needs": {"model": "download"}, "with": quantize},
        "measure": {
            "uses": "evaluate",
            "needs": {"model": "quantize", "tokens": "tokens"}
            | ({"reference": "logprobs"} if metric == "kld" else {}),
            "with": {"metric": metric},
            "stop_dominated": True,
        },
    }
    return {"name": "test", "model": {"source": MODEL}, "stages": stages}


@pytest.mark.parametrize(
    ("quantize", "expected"),
    [
        ({"method": "gguf", "type": "Q4_K_M"}, 4.89),
        ({"method": "rtn", "bits": 4, "group_size": 32}, 4.5),
        ({"method": "bnb", "type": "nf4"}, 4.5),
        ({"method": "bnb", "type": "nf4", "double_quant": True}, 4.127),
        ({"method": "rtn", "bits": 4, "group_size": 128, "sym": False}, 4.156),
        ({"method": "rtn", "bits": 8, "group_size": -1}, 8),
    ],
)
def test_a_draft_says_how_large_a_level_is(quantize: dict[str, Any], expected: float) -> None:
    (drafted,) = draft([job(_recipe("kld", **quantize))])["jobs"]
    assert drafted["levels"]["measure"]["bits"] == pytest.approx(expected, rel=1e-3)


def test_what_others_wait_for_is_given_all_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference, and levels in a chain; levels that may run side by side leave each other
    some."""
    monkeypatch.setattr("qpipe.machine.capacity.usable_cores", lambda: 8)
    recipe = _recipe("kld", method="gguf", type="Q4_K_M")

    def cpus(own: dict[str, Any]) -> dict[str, int]:
        recipe["stages"]["measure"] |= own
        (drafted,) = draft([job(recipe)])["jobs"]
        return {stage["name"]: stage["resources"]["cpus"] for stage in drafted["stages"]}

    assert (cpus({})["logprobs"], cpus({})["measure"]) == (8, 8)
    assert cpus({"resources": {"cpus": 3}})["measure"] == 3
    assert cpus({"resources": {}, "stop_dominated": False})["measure"] == 4


def test_a_measurement_that_cannot_end_early_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"stages\.measure\.stop_dominated .*metric kld can"):
        draft([job(_recipe("perplexity", method="gguf", type="Q4_0"))])
