"""`qpipe plan`, `graph` and `explain`: what would run, what hangs on what, and why."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from qpipe.session.requirements import refusals
from qpipe.commands.options import Options
from qpipe.commands.output import say
from qpipe.session.plans import Objective, each_plan
from qpipe.session.previews import lines, previews
from qpipe.core.forecast import Difference, Forecast, forecast, nearest_cached
from qpipe.core.graph import Graph, merge
from qpipe.core.key import Json
from qpipe.core.layout import RunPaths
from qpipe.core.plan import Plan
from qpipe.core.store import Store
from qpipe.errors import QpipeError
from qpipe.executors.make import make
from qpipe.recipe.draft import RunDraft, describe
from qpipe.recipe.request import Request

if TYPE_CHECKING:
    from qpipe.stages.base import Preview

_MARKS = {"cached": "✓ cached", "run": "● run", "unknown": "? unknown"}


def plan(request: Request, options: Options) -> int:
    """Hits, misses and why, for every node; nothing runs."""
    store = Store(options.store)
    drafts: list[RunDraft] = []
    found = forecast(_graph(request, options, drafts.append), store)
    executor = make(paths=RunPaths(options.runs), **drafts[0]["executor"])
    invalid = [job for draft in drafts for job in draft["invalid"]]
    coming = previews(found) | refusals(found, executor)
    failing = [problem for problem in coming.values() if isinstance(problem, QpipeError)]
    if options.json:
        nodes: list[Json] = [_record(f) | _preview_record(coming.get(f.node.id)) for f in found]
        left_out: list[Json] = [{"name": job["name"], "error": job["error"]} for job in invalid]
        answer: dict[str, Json] = {"nodes": nodes, "counts": _counts(found)}
        _print_json(answer | ({"invalid": left_out} if invalid else {}))
        return failing[0].exit_code if failing else 0
    width = max(len(f.node.name) for f in found)
    for item in found:
        key = item.key[:12] if item.key else "-" * 12
        say(f"{_MARKS[item.state]:<10} {item.node.name:<{width}}  {key}  {item.why}")
    counts = _counts(found)
    print(
        f"{len(found)} nodes: {counts['cached']} cached, {counts['run']} to run, "
        f"{counts['unknown']} unknown until their inputs are made"
    )
    for item in found:
        _print_preview(item, coming.get(item.node.id))
    for job in invalid:
        say(f"left out: {job['name']}: {job['error']}")
    return failing[0].exit_code if failing else 0


def graph(request: Request, options: Options) -> int:
    """The merged graph: a line a node with what it takes, or dot, mermaid or JSON."""
    merged = _graph(request, options)
    if options.json:
        nodes: list[Json] = [
            {
                "id": node.id,
                "name": node.name,
                "stage": node.stage,
                "params": node.params,
                "engine": node.engine,
                "inputs": node.inputs,
            }
            for node in merged.values()
        ]
        _print_json({"nodes": nodes})
    else:
        say("\n".join(_FORMATS[options.format or "text"](merged)))
    return 0


def explain(request: Request, options: Options) -> int:
    """For every node that is not cached: what differs from the nearest cached artifact."""
    store = Store(options.store)
    merged = _graph(request, options)
    found = forecast(merged, store)
    made = {f.node.id: f.artifact.manifest for f in found if f.artifact}
    records: list[Json] = []
    for item in found:
        if item.state == "cached":
            continue
        known = {role: made[s] for role, s in item.node.inputs.items() if s in made}
        inputs = item.node.digests(known)
        nearest = nearest_cached(item.node, inputs, store)
        records.append(
            {
                **_record(item),
                "nearest": nearest[0].key if nearest else None,
                "differs": [_difference(d) for d in nearest[1]] if nearest else [],
            }
        )
        if not options.json:
            _print_explanation(item, nearest)
    if options.json:
        _print_json({"nodes": records})
    elif not records:
        print(f"all {len(found)} nodes are cached")
    return 0


def _graph(
    request: Request, options: Options, take: Callable[[RunDraft], None] = lambda draft: None
) -> Graph:
    plans: list[Plan] = []

    def handle(draft: RunDraft, planned: Plan) -> Sequence[Objective]:
        take(draft)
        plans.append(planned)
        return [None for _ in planned.jobs]

    each_plan(request, options, handle)
    return plans[0].graph if len(plans) == 1 else merge(p.graph for p in plans)


def _print_explanation(item: Forecast, nearest: tuple[object, list[Difference]] | None) -> None:
    say(f"{item.node.name}: {item.why}")
    if nearest is None:
        say(f"  no {item.node.stage} is in the store yet")
        return
    manifest, differences = nearest
    say(f"  nearest in the store: {manifest.name} {manifest.key[:12]}")  # type: ignore[attr-defined]
    for difference in differences:
        here, there = _short(difference.here), _short(difference.there)
        say(f"    {difference.field}: here {here}, there {there}")


def _print_preview(item: Forecast, preview: Preview | QpipeError | None) -> None:
    if isinstance(preview, QpipeError):
        say(f"{item.node.name} would fail: {preview}")
    elif preview is not None:
        first, *others = lines(preview)
        say("\n".join([f"{item.node.name}: {first}", *others]))


def _preview_record(preview: Preview | QpipeError | None) -> dict[str, Json]:
    if preview is None:
        return {}
    if isinstance(preview, QpipeError):
        return {"error": str(preview)}
    return {"facts": preview.facts, "tensors": preview.tensors, "at_most": preview.at_most}


def _short(value: Json) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _difference(difference: Difference) -> Json:
    return {"field": difference.field, "here": difference.here, "there": difference.there}


def _record(item: Forecast) -> dict[str, Json]:
    return {
        "name": item.node.name,
        "stage": item.node.stage,
        "id": item.node.id,
        "state": item.state,
        "why": item.why,
        "key": item.key,
        "artifact": str(item.artifact.path) if item.artifact else None,
    }


def _counts(found: Iterable[Forecast]) -> dict[str, Json]:
    states = [item.state for item in found]
    return {state: states.count(state) for state in ("cached", "run", "unknown")}


def _text(graph: Graph) -> list[str]:
    lines = []
    for node in graph.values():
        inputs = ", ".join(f"{role} ← {graph[source].name}" for role, source in node.inputs.items())
        lines.append(f"{node.name}  ({node.stage}: {describe(node.params)})")
        if inputs:
            lines.append(f"    {inputs}")
    return lines


def _dot(graph: Graph) -> list[str]:
    lines = ["digraph qpipe {", "  rankdir=LR;", "  node [shape=box];"]
    for node in graph.values():
        lines.append(f'  "{node.id[:12]}" [label={json.dumps(node.name, ensure_ascii=False)}];')
    for node in graph.values():
        for role, source in node.inputs.items():
            lines.append(f'  "{source[:12]}" -> "{node.id[:12]}" [label="{role}"];')
    return [*lines, "}"]


def _mermaid(graph: Graph) -> list[str]:
    lines = ["flowchart LR"]
    for node in graph.values():
        label = node.name.replace('"', "#quot;")
        lines.append(f'  n{node.id[:12]}["{label}"]')
    for node in graph.values():
        for role, source in node.inputs.items():
            lines.append(f"  n{source[:12]} -->|{role}| n{node.id[:12]}")
    return lines


_FORMATS = {"text": _text, "dot": _dot, "mermaid": _mermaid}


def _print_json(document: Json) -> None:
    json.dump(document, sys.stdout, indent=1, allow_nan=False)
    print()
