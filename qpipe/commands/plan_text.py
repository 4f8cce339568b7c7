"""What a run would do and make, in lines and as JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from qpipe.commands.plan_fold import MARKS, remarks, sums
from qpipe.report import numbers, text
from qpipe.support.tensor_names import shortened

if TYPE_CHECKING:
    from qpipe.core.key import Json
    from qpipe.results.preview import Preview
    from qpipe.session.costs import RunCost
    from qpipe.session.forecasts import Explanation, RunPlan
    from qpipe.session.planned import PlannedNode

_WIDTH = 100


def document(plan: RunPlan) -> dict[str, Json]:
    """Return the plan as ``--json`` gives it."""
    nodes: list[Json] = [{**_record(node), **_outlook(node)} for node in plan.nodes]
    left_out: list[Json] = [{"name": job.name, "error": job.error} for job in plan.left_out]
    totals: Json = {**asdict(plan.totals)}
    answer: dict[str, Json] = {"nodes": nodes, "counts": dict(plan.counts), "totals": totals}
    answer["seconds"] = dict(plan.seconds)
    answer["cost"] = cost_document(plan.cost)
    same: list[Json] = [list(names) for names in plan.same_tensors]
    answer |= {"same_tensors": same} if same else {}
    answer |= {} if plan.guided is None else {"guided": plan.guided.record()}
    return answer | ({"invalid": left_out} if left_out else {})


def explanation_document(explanation: Explanation) -> dict[str, Json]:
    """Return an explanation as ``--json`` gives it."""
    return {
        **_record(explanation.node),
        "nearest": explanation.nearest.key if explanation.nearest else None,
        "differs": [
            {"field": d.field, "here": d.here, "there": d.there} for d in explanation.differences
        ],
    }


def lines(plan: RunPlan) -> Iterator[str]:
    """Yield every node and every tensor's type, what is to be noted, and the sums."""
    yield from node_lines(plan.nodes)
    for node in plan.nodes:
        if node.error is None and node.preview is not None:
            first, *others = preview_lines(node.preview)
            yield from (f"{node.name}: {first}", *others)
    yield from remarks(plan, whole=True)
    yield from sums(plan)
    yield from stage_lines(plan.cost)
    if plan.totals.results_only:
        for each in plan.cost.dropped:
            yield f"{each.name} goes after {each.after}"


def stage_lines(cost: RunCost) -> Iterator[str]:
    """Yield a table of what each stage takes."""
    if not cost.stages:
        return
    yield ""
    rows = [
        [
            stage.stage,
            str(stage.nodes),
            "" if stage.seconds is None else numbers.duration(stage.seconds),
            "" if stage.memory is None else numbers.size(stage.memory),
            "" if stage.memory is None else "measured" if stage.measured else "booked",
            f"{stage.gpus}" if stage.gpus else "",
        ]
        for stage in cost.stages
    ]
    head = ("STAGE", "NODES", "TIME", "MEMORY", "", "GPUS")
    yield from text.table(head, rows, right="lrrrlr").split("\n")


def cost_document(cost: RunCost) -> dict[str, Json]:
    """Return the cost of a run as ``--json`` gives it."""
    return {
        "stages": [{**asdict(stage)} for stage in cost.stages],
        "at_once": cost.at_once,
        "dropped": [{**asdict(each)} for each in cost.dropped],
    }


def node_lines(nodes: Sequence[PlannedNode]) -> Iterator[str]:
    """Yield a line a node: its state, its name, the first digits of its key, and why."""
    width = max(len(node.name) for node in nodes)
    for node in nodes:
        key = node.key[:12] if node.key else "-" * 12
        words = "; ".join(filter(None, (node.why, node.purpose)))
        yield f"{MARKS[node.state]:<10} {node.name:<{width}}  {key}  {words}"


def _record(node: PlannedNode) -> dict[str, Json]:
    return {
        "name": node.name,
        "stage": node.stage,
        "id": node.id,
        "state": node.state,
        "why": node.why,
        "key": node.key,
        "artifact": str(node.artifact) if node.artifact else None,
    }


def _outlook(node: PlannedNode) -> dict[str, Json]:
    if node.error is not None:
        return {"error": str(node.error)}
    if node.preview is None:
        return {}
    preview = node.preview
    answer: dict[str, Json] = {"facts": {**preview.facts}, "at_most": preview.at_most}
    answer |= {"about": True} if preview.about else {"tensors": {**preview.tensors}}
    return answer


def preview_lines(preview: Preview) -> Iterator[str]:
    """Yield size and bits per weight, and below them the tensors of each type; of no model, the
    size."""
    facts = preview.facts
    amount = (
        f"{facts['size_bytes']:,} bytes"
        if "size_bytes" in facts
        else f"{facts['tokens_scored']:,} tokens scored"
    )
    near = "about " if preview.about else "at most " if preview.at_most else ""
    words = f"{facts['format']}, {near}{amount}"
    if not preview.tensors:
        yield words
        return
    yield f"{words}, {facts['bits_per_weight']:.3f} bits per weight"
    by_type: dict[str, list[str]] = {}
    for name, kind in preview.tensors.items():
        by_type.setdefault(kind, []).append(name)
    width = max(map(len, by_type))
    for kind, names in sorted(by_type.items()):
        yield from textwrap.wrap(
            "  ".join(shortened(names)),
            _WIDTH,
            initial_indent=f"  {kind:<{width}}  ",
            subsequent_indent=" " * (width + 4),
            break_long_words=False,
            break_on_hyphens=False,
        )
