"""Rows of a comparison: one for each quantized model, the reference first.

A row is plain data, ready for JSON. What was measured stands in ``measurements``, each with the
protocol and text under which it was; columns.py makes fields such as ``ppl`` of them, and never one
of two protocols.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from qpipe.core.graph import Graph, Node
from qpipe.core.manifest import Manifest
from qpipe.core.plan import Plan, PlannedJob
from qpipe.core.runner import Outcome, RunResult
from qpipe.report.columns import flatten
from qpipe.report.paired import differences

QUANTIZE, EVALUATE, LINT, MODEL = "quantize", "evaluate", "lint", "model"
TOKENS = "tokens"
# The roles of what a model is measured on.
TEXT, TOKENS = "text", "tokens"
TEXTS = (TEXT, "include_path")
# The metric whose items are compared one by one.
TASKS = "tasks"

# Facts of an evaluation that say how it was measured. Every other number among its facts is a
# score, and ``X_stderr`` is the standard error of the score ``X``.
ABOUT = frozenset(
    {"protocol", "text", "tokens", "tokens_scored", "tokens_sha256", "items", "backend", "notes",
     "sampling", "interval", "dominated_by", "seconds", "tokens_per_second"}
)  # fmt: skip


@dataclass
class _Model:
    """One row in the making: every node that made this very content, and for which jobs."""

    nodes: list[str] = field(default_factory=list)
    jobs: list[PlannedJob] = field(default_factory=list)
    references: set[str] = field(default_factory=set)
    """The nodes among ``nodes`` that are some job's reference."""
    compared_with: str | None = None
    """The node of the reference that this model is compared with."""


def rows(plan: Plan, result: RunResult) -> list[dict[str, Any]]:
    """One row for each model of the plan, whether it could be made or not."""
    models = _models(plan, result)
    evaluations = _evaluations(plan.graph, result)
    stages = {node: stage for job in plan.jobs for stage, node in job.nodes.items()}
    by_node = {node: model for model in models for node in model.nodes}
    made = [
        _row(model, result, evaluations, stages, plan.graph)
        | {"notes": _notes(model, plan.graph, result)}
        for model in models
    ]
    _name(made, models, stages)
    _name_rivals(made, models, result)
    _compare(made, models, by_node)
    return flatten(made)


# -- which models ---------------------------------------------------------------------------------


def _models(plan: Plan, result: RunResult) -> list[_Model]:
    found: dict[object, _Model] = {}
    for job in plan.jobs:
        for node in _of_job(job, plan.graph):
            model = found.setdefault(_identity(result.outcomes[node]), _Model())
            if node not in model.nodes:
                model.nodes.append(node)
            model.jobs.append(job)
            if node == job.reference:
                model.references.add(node)
            elif model.compared_with is None:
                model.compared_with = job.reference
    return _reference_first(list(found.values()))


def _of_job(job: PlannedJob, graph: Graph) -> list[str]:
    """The reference, and what the job quantized; without such, whatever it evaluates."""
    own = [node for node in job.nodes.values() if graph[node].stage == QUANTIZE]
    if not own:
        own = [
            graph[node].inputs[MODEL]
            for node in job.nodes.values()
            if graph[node].stage == EVALUATE and MODEL in graph[node].inputs
        ]
    first = [job.reference] if job.reference is not None else []
    return list(dict.fromkeys([*first, *own]))


def _identity(outcome: Outcome) -> object:
    """Equal for equal content, whatever the files are called; a node that failed is itself."""
    if outcome.artifact is None:
        return outcome.node.id
    return tuple(sorted(entry.sha256 for entry in outcome.artifact.manifest.files))


def _reference_first(models: Sequence[_Model]) -> list[_Model]:
    """Each reference, and after it what is compared with it."""
    place: dict[str, int] = {}
    for number, model in enumerate(models):
        place.update(dict.fromkeys(model.references, number))
    return sorted(
        models,
        key=lambda m: (
            place[next(iter(m.references))]
            if m.references
            else place.get(m.compared_with or "", len(models)),
            not m.references,
        ),
    )


# -- one row --------------------------------------------------------------------------------------


def _row(
    model: _Model,
    result: RunResult,
    evaluations: Mapping[str, Sequence[Outcome]],
    stages: Mapping[str, str],
    graph: Graph,
) -> dict[str, Any]:
    outcomes = [result.outcomes[node] for node in model.nodes]
    best = next((o for o in outcomes if o.artifact is not None), outcomes[0])
    measured = _distinct(o for node in model.nodes for o in evaluations.get(node, ()))
    manifest = best.artifact.manifest if best.artifact else None
    facts: Mapping[str, Any] = manifest.facts if manifest else {}
    every = [best, *measured]
    jobs = model.jobs
    return {
        "name": "",
        "format": facts.get("format") or _wanted_format(best),
        "reference": bool(model.references),
        "size_bytes": facts.get("size_bytes", manifest.size if manifest else None),
        "bits_per_weight": facts.get("bits_per_weight"),
        "weights": facts.get("weights"),
        "seconds": best.seconds if manifest else None,
        "evaluate_seconds": sum(o.seconds for o in measured) if measured else None,
        "status": _status(every),
        "key": manifest.key if manifest else None,
        "artifact": str(best.artifact.path) if best.artifact else None,
        "file": _file(best),
        "overrides": list(jobs[0].overrides) if len({j.label for j in jobs}) == 1 else [],
        "error": _error(every),
        "measurements": [_measurement(o, stages[o.node.id], graph) for o in measured],
    }


def _evaluations(graph: Graph, result: RunResult) -> Mapping[str, Sequence[Outcome]]:
    """Evaluations by the node that they measure."""
    found: dict[str, list[Outcome]] = {}
    for node in graph.values():
        if node.stage == EVALUATE and MODEL in node.inputs:
            found.setdefault(node.inputs[MODEL], []).append(result.outcomes[node.id])
    return found


def _notes(model: _Model, graph: Graph, result: RunResult) -> list[str]:
    """What the stages behind a model have to say of it, and what was said of its calibration and of
    the text that it is measured on."""
    behind = _ancestors(model.nodes, graph)
    every = [node for job in model.jobs for node in job.nodes.values()]
    if any(graph[node].stage not in (QUANTIZE, "download", "convert") for node in behind):
        behind += [node for node in every if graph[node].stage == LINT]
    behind += [node for node in every if graph[node].stage == TOKENS]
    artifacts = [result.outcomes[node].artifact for node in dict.fromkeys(behind)]
    found = (a.manifest.facts.get("notes") for a in artifacts if a is not None)
    return list(dict.fromkeys(str(n) for notes in found if isinstance(notes, list) for n in notes))


def _ancestors(nodes: Sequence[str], graph: Graph) -> list[str]:
    """The nodes themselves, and whatever they are made from."""
    found: dict[str, None] = {}
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if node not in found:
            found[node] = None
            waiting += graph[node].inputs.values()
    return list(found)


def _distinct(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Each evaluation once: two nodes whose inputs came out equal share one artifact."""
    return list({o.artifact.key if o.artifact else o.node.id: o for o in outcomes}.values())


def _wanted_format(outcome: Outcome) -> str | None:
    """What a model that could not be made should have been, as far as its parameters say."""
    params = outcome.node.params
    outtype = params.get("outtype")
    if isinstance(outtype, str) and outtype != "source":
        return outtype.upper()
    for name in ("type", "method"):
        if isinstance(value := params.get(name), str):
            return value
    return None


def _file(outcome: Outcome) -> str | None:
    if outcome.artifact is None:
        return None
    files = [f.path for f in outcome.artifact.manifest.files if f.path.endswith(".gguf")]
    return str(outcome.artifact.path / files[0]) if len(files) == 1 else None


def _status(outcomes: Sequence[Outcome]) -> str:
    found = {outcome.status for outcome in outcomes}
    for status in ("failed", "skipped", "ran"):
        if status in found:
            return status
    return "cached"


def _error(outcomes: Sequence[Outcome]) -> str | None:
    for outcome in outcomes:
        if outcome.error is not None:
            return str(outcome.error)
    blockers = [o.blocked_by for o in outcomes if o.blocked_by]
    return f"because of {blockers[0]}" if blockers else None


def _measurement(outcome: Outcome, stage: str, graph: Graph) -> dict[str, Any]:
    manifest = outcome.artifact.manifest if outcome.artifact else None
    facts: Mapping[str, Any] = manifest.facts if manifest else {}
    return {
        "stage": stage,
        "metric": outcome.node.params.get("metric"),
        "status": outcome.status,
        "key": manifest.key if manifest else None,
        "artifact": str(outcome.artifact.path) if outcome.artifact else None,
        **{name: facts.get(name) for name in sorted(ABOUT)},
        "text": _text_name(outcome.node, graph) or facts.get("text"),
        "seconds": outcome.seconds if manifest else None,
        "text_digest": _text_digest(manifest) if manifest else None,
        "machine": _machine(manifest) if manifest else None,
        "scores": {
            name: value
            for name, value in facts.items()
            if name not in ABOUT and isinstance(value, (int, float)) and not isinstance(value, bool)
        },
    }


def _text_name(node: Node, graph: Graph) -> Any:
    """What this run calls the text that was measured on: its name is no part of what was measured,
    and may have been another when that was."""
    for role in (TEXT, TOKENS):
        if role in node.inputs:
            source = graph[node.inputs[role]]
            return source.runtime.where.get("name") if role == TEXT else _text_name(source, graph)
    return None


def _text_digest(manifest: Manifest) -> Any:
    """The digest of what was measured on: a text, or a folder of tasks."""
    for role in TEXTS:
        if role in manifest.inputs:
            return manifest.inputs[role]["digest"]
    return None


def _machine(manifest: Manifest) -> str:
    """Processor, cores and system in a few words."""
    machine = manifest.machine
    words = [machine.get("processor") or machine.get("architecture"), machine.get("system")]
    if cores := machine.get("cores"):
        words.insert(1, f"{cores} core{'' if cores == 1 else 's'}")
    return ", ".join(str(word) for word in words if word)


# -- rows beside each other -----------------------------------------------------------------------


def _name(
    made: Sequence[dict[str, Any]], models: Sequence[_Model], stages: Mapping[str, str]
) -> None:
    """Name each row by its job's label, or by its format; two of one name get more words."""
    words = []
    for row, model in zip(made, models, strict=True):
        labels = list(dict.fromkeys(job.label for job in model.jobs if job.label))
        stage = stages[model.nodes[0]]
        by_format = row["format"] or stage
        plain = labels[0] if len(labels) == 1 and not model.references else by_format
        words.append((plain, [*filter(None, [_common(labels)]), stage, model.nodes[0][:6]]))
    names = [plain for plain, _ in words]
    for more in range(3):
        taken = Counter(names)
        names = [
            f"{name} {extra[more]}" if taken[name] > 1 and more < len(extra) else name
            for name, (_, extra) in zip(names, words, strict=True)
        ]
    for row, name in zip(made, names, strict=True):
        row["name"] = name


def _name_rivals(
    made: Sequence[dict[str, Any]], models: Sequence[_Model], result: RunResult
) -> None:
    """Say by which row a level is dominated: measurements know the content of its model."""
    names = {
        artifact.manifest.digest: row["name"]
        for row, model in zip(made, models, strict=True)
        for node in model.nodes
        if (artifact := result.outcomes[node].artifact) is not None
    }
    for row in made:
        for measurement in row["measurements"]:
            if by := measurement["dominated_by"]:
                name = names.get(by["digest"], by["format"])
                measurement["dominated_by"] = {**by, "name": name}


def _common(labels: Sequence[str]) -> str:
    """What all the labels say."""
    first, *others = [label.split(" ") for label in labels] or [[]]
    return " ".join(word for word in first if all(word in other for other in others))


def _compare(
    made: Sequence[dict[str, Any]], models: Sequence[_Model], by_node: Mapping[str, _Model]
) -> None:
    """Give scores their differences to the reference's under the same protocol and text."""
    row_of = {id(model): row for row, model in zip(made, models, strict=True)}
    for row, model in zip(made, models, strict=True):
        reference = by_node.get(model.compared_with or "")
        known = (
            [] if reference is None or model.references else row_of[id(reference)]["measurements"]
        )
        for measurement in row["measurements"]:
            _compare_one(measurement, _like(measurement, known))


def _like(
    measurement: Mapping[str, Any], known: Sequence[Mapping[str, Any]]
) -> Mapping[str, Any] | None:
    """What was measured in the same way; of several, by the same backend, and with a perplexity."""
    alike = [other for other in known if _way(other) == _way(measurement)]
    return max(
        alike,
        key=lambda other: (other["backend"] == measurement["backend"], "ppl" in other["scores"]),
        default=None,
    )


def _compare_one(measurement: Mapping[str, Any], reference: Mapping[str, Any] | None) -> None:
    scores, there = measurement["scores"], reference["scores"] if reference else {}
    if "ppl" in scores and "ppl_delta" not in scores:
        scores["ppl_delta"] = scores["ppl"] - there["ppl"] if "ppl" in there else None
    if reference and measurement["metric"] == TASKS and scores and there:
        found = differences(Path(measurement["artifact"]), Path(reference["artifact"]))
        for field, difference in found.items():
            base, _, where = field.partition("[")
            for name, value in asdict(difference).items():
                part = "" if name == "delta" else f"_{name}"
                scores[f"{base}_delta{part}[{where}"] = value


def _way(measurement: Mapping[str, Any]) -> tuple[Any, ...]:
    return measurement["protocol"], measurement["tokens_sha256"] or measurement["text_digest"]
