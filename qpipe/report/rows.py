"""Rows of a comparison: one for each quantized model, the reference first.

What was measured stands in a row's ``measurements``, each with the protocol and text under which it
was; `qpipe.results` names the scores, and never calls two protocols the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from qpipe.core.graph import Graph, Node, Plan, PlannedJob
from qpipe.core.manifest import Manifest
from qpipe.core.outcome import Outcome, RunResult
from qpipe.report.equals import with_equals
from qpipe.report.reference_difference import compared_with
from qpipe.results import facts
from qpipe.results.comparison import Comparison, ModelRow
from qpipe.results.measurement import Evaluation
from qpipe.results.same_tensors import signature

QUANTIZE, EVALUATE, LINT, MODEL = "quantize", "evaluate", "lint", "model"
IMPORTED = "imported"
"""The fact of what was computed elsewhere: of a reference file, and of its measurements."""
# The roles of what a model is measured on.
TEXT, TOKENS = "text", "tokens"
TEXTS = (TEXT, "include_path")


@dataclass
class _Model:
    """One row in the making: every node that made this very content, and for which jobs."""

    nodes: list[str] = field(default_factory=list)
    jobs: list[PlannedJob] = field(default_factory=list)
    references: set[str] = field(default_factory=set)
    """The nodes among ``nodes`` that are some job's reference."""
    compared_with: str | None = None
    """The node of the reference that this model is compared with."""


def comparison(plan: Plan, result: RunResult) -> Comparison:
    """Compare the models of a plan: a row for each, whether it could be made or not."""
    models = _models(plan, result)
    stages = {node: stage for job in plan.jobs for stage, node in job.nodes.items()}
    evaluations = _evaluations(plan.graph, result, stages)
    by_node = {node: model for model in models for node in model.nodes}
    rows = [_row(model, result, evaluations, stages, plan.graph) for model in models]
    rows = _beside_originals(_with_names(rows, models, stages), models, by_node)
    rows = _with_rivals(rows, models, result)
    rows = with_equals(rows, [_signature(model, result) for model in models])
    return Comparison.of(_compared(rows, models, by_node))


# -- which models ---------------------------------------------------------------------------------


def _models(plan: Plan, result: RunResult) -> list[_Model]:
    models: dict[object, _Model] = {}
    for job in plan.jobs:
        for node in _of_job(job, plan.graph):
            model = models.setdefault(_identity(result.outcomes[node]), _Model())
            if node not in model.nodes:
                model.nodes.append(node)
            model.jobs.append(job)
            if node == job.reference:
                model.references.add(node)
            elif model.compared_with is None:
                model.compared_with = job.reference
    return _reference_first(list(models.values()))


def _of_job(job: PlannedJob, graph: Graph) -> list[str]:
    """The reference of a job, and what the job quantized; without such, whatever it evaluates."""
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
    """A value that is equal for equal content, whatever the files are called.

    That of a node that failed is its own id.
    """
    if outcome.artifact is None:
        return outcome.node.id
    return tuple(sorted(entry.sha256 for entry in outcome.artifact.manifest.files))


def _reference_first(models: Sequence[_Model]) -> list[_Model]:
    """The models in order: each reference, and after it the models that are compared with it."""
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
) -> ModelRow:
    outcomes = [result.outcomes[node] for node in model.nodes]
    best = next((o for o in outcomes if o.artifact is not None), outcomes[0])
    measured = _distinct(o for node in model.nodes for o in evaluations.get(node, ()))
    manifest = best.artifact.manifest if best.artifact else None
    model_facts = facts.model(manifest.facts if manifest else {})
    imported = model_facts.more.get(IMPORTED) or {}
    every = [best, *measured]
    jobs = model.jobs
    return ModelRow(
        name="",
        format=model_facts.format or _wanted_format(best),
        status=_status(every),
        reference=bool(model.references),
        model=imported.get(MODEL) or _called(model.nodes, graph),
        size_bytes=model_facts.size_bytes or (manifest.size if manifest else None),
        bits_per_weight=model_facts.bits_per_weight,
        computed_on=model_facts.more.get("computed_on"),
        weights=model_facts.weights,
        seconds=best.seconds if manifest else None,
        evaluate_seconds=sum(o.seconds for o in measured) if measured else None,
        key=manifest.key if manifest else None,
        artifact=str(best.artifact.path) if best.artifact else None,
        file=_file(best),
        overrides=tuple(jobs[0].overrides) if len({(*j.overrides,) for j in jobs}) == 1 else (),
        notes=_notes(model, graph, result),
        error=_error(every),
        measurements=tuple(_evaluation(o, stages[o.node.id], graph) for o in measured),
    )


def _evaluations(
    graph: Graph, result: RunResult, stages: Collection[str]
) -> Mapping[str, Sequence[Outcome]]:
    """The evaluations that are ``stages`` of a job, by the node that they measure; others are what
    these went on from."""
    by_model: dict[str, list[Outcome]] = {}
    for node in graph.values():
        if node.stage == EVALUATE and MODEL in node.inputs and node.id in stages:
            by_model.setdefault(node.inputs[MODEL], []).append(result.outcomes[node.id])
    return by_model


def _notes(model: _Model, graph: Graph, result: RunResult) -> tuple[str, ...]:
    """The notes on a model: those of the stages behind it, and those on its calibration and on the
    text that it is measured on."""
    behind = _ancestors(model.nodes, graph)
    every = [node for job in model.jobs for node in job.nodes.values()]
    plain = (QUANTIZE, "download", "unpickle", "convert")
    if any(graph[node].stage not in plain for node in behind):
        behind += [node for node in every if graph[node].stage == LINT]
    behind += [node for node in every if graph[node].stage == TOKENS]
    outcomes = [result.outcomes[node] for node in dict.fromkeys(behind)]
    return tuple(dict.fromkeys(each for outcome in outcomes for each in _own_notes(outcome)))


def _own_notes(outcome: Outcome) -> list[str]:
    """The notes that a stage left, without what its recipe does not want to hear of."""
    own = outcome.artifact.manifest.facts if outcome.artifact else {}
    notes = own.get("notes")
    allowed = outcome.node.runtime.asides.get("fallback") == "allow"
    unsaid = own.get("fallback") if allowed else None
    return [str(n) for n in notes if n != unsaid] if isinstance(notes, list) else []


def _called(nodes: Sequence[str], graph: Graph) -> str | None:
    """The name of the model that everything was made from; of several with one content, all."""
    return ", ".join(dict.fromkeys(filter(None, (graph[node].made_for for node in nodes)))) or None


def _ancestors(nodes: Sequence[str], graph: Graph) -> list[str]:
    """The nodes themselves, and all nodes that they are made from."""
    ancestors: dict[str, None] = {}
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if node not in ancestors:
            ancestors[node] = None
            waiting += graph[node].inputs.values()
    return list(ancestors)


def _distinct(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """The evaluations without repeats: two nodes whose inputs came out equal share one artifact."""
    return list({o.artifact.key if o.artifact else o.node.id: o for o in outcomes}.values())


def _wanted_format(outcome: Outcome) -> str | None:
    """The intended format of a model that could not be made, as far as its parameters say."""
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
    statuses = {outcome.status for outcome in outcomes}
    for status in ("failed", "skipped", "waiting", "ran"):
        if status in statuses:
            return status
    return "cached"


def _error(outcomes: Sequence[Outcome]) -> str | None:
    for outcome in outcomes:
        if outcome.error is not None:
            return str(outcome.error)
    blockers = [o.blocked_by for o in outcomes if o.blocked_by]
    return f"because of {blockers[0]}" if blockers else None


def _evaluation(outcome: Outcome, stage: str, graph: Graph) -> Evaluation:
    manifest = outcome.artifact.manifest if outcome.artifact else None
    measurement = facts.measurement(manifest.facts if manifest else {})
    text = _text_name(outcome.node, graph) or measurement.on.text
    metric = outcome.node.params.get("metric")
    return Evaluation(
        stage=stage,
        metric=None if metric is None else str(metric),
        status=outcome.status,
        measurement=replace(measurement, on=replace(measurement.on, text=text)),
        key=manifest.key if manifest else None,
        artifact=str(outcome.artifact.path) if outcome.artifact else None,
        seconds=outcome.seconds if manifest else None,
        text_digest=_text_digest(manifest) if manifest else None,
        machine=_machine(_computed_on(manifest)) if manifest else None,
    )


def _text_name(node: Node, graph: Graph) -> str | None:
    """This run's name for the text that was measured on.

    The name is no part of what was measured, and may have been another when that was.
    """
    for role in (TEXT, TOKENS):
        if role in node.inputs:
            source = graph[node.inputs[role]]
            if role == TOKENS:
                return _text_name(source, graph)
            name = source.runtime.where.get("name")
            return None if name is None else str(name)
    return None


def _text_digest(manifest: Manifest) -> str | None:
    """The digest of the data that was measured on: a text, or a folder of tasks."""
    for role in TEXTS:
        if role in manifest.inputs:
            return manifest.inputs[role]["digest"]
    return None


def _computed_on(manifest: Manifest) -> Mapping[str, Any]:
    """The machine that computed: of what is imported not the one that imported it."""
    imported: Any = manifest.facts.get(IMPORTED)
    machine: Mapping[str, Any] = imported.get("machine", {}) if imported else manifest.machine
    return machine


def _machine(machine: Mapping[str, Any]) -> str:
    """Processor, cores and system in a few words."""
    words = [machine.get("processor") or machine.get("architecture"), machine.get("system")]
    if cores := machine.get("cores"):
        words.insert(1, f"{cores} core{'' if cores == 1 else 's'}")
    return ", ".join(str(word) for word in words if word)


# -- rows beside each other -----------------------------------------------------------------------


def _with_names(
    rows: Sequence[ModelRow], models: Sequence[_Model], stages: Mapping[str, str]
) -> list[ModelRow]:
    """Name each row by its job's label, or by its format; two of one name and one model get more
    words."""
    words = []
    for row, model in zip(rows, models, strict=True):
        labels = list(dict.fromkeys(job.label for job in model.jobs if job.label))
        stage = stages[model.nodes[0]]
        by_format = row.format or stage
        if any(each.measurement.imported for each in row.measurements):
            by_format = f"{by_format}, imported"
        plain = labels[0] if len(labels) == 1 and not model.references else by_format
        words.append((plain, [*filter(None, [_common(labels)]), stage, model.nodes[0][:6]]))
    names = [plain for plain, _ in words]
    for more in range(3):
        taken = Counter(zip(names, (row.model for row in rows), strict=True))
        names = [
            f"{name} {extra[more]}" if taken[name, row.model] > 1 and more < len(extra) else name
            for name, row, (_, extra) in zip(names, rows, words, strict=True)
        ]
    return [replace(row, name=name) for row, name in zip(rows, names, strict=True)]


def _beside_originals(
    rows: Sequence[ModelRow], models: Sequence[_Model], by_node: Mapping[str, _Model]
) -> list[ModelRow]:
    """Put rows that are compared with another model's, which ``run.reference`` names, into that
    one's table, with their own model in their name."""
    row_of = {id(model): row for row, model in zip(rows, models, strict=True)}
    moved = []
    for row, model in zip(rows, models, strict=True):
        reference = by_node.get(model.compared_with or "")
        original = row if reference is None or model.references else row_of[id(reference)]
        if original.model not in (None, row.model):
            name = f"{row.model} {row.name}" if row.model else row.name
            row = replace(row, model=original.model, name=name)
        moved.append(row)
    return moved


def _with_rivals(
    rows: Sequence[ModelRow], models: Sequence[_Model], result: RunResult
) -> list[ModelRow]:
    """Name the row by which a level is dominated: measurements know its model only by content."""
    names = {
        artifact.manifest.digest: row.name
        for row, model in zip(rows, models, strict=True)
        for node in model.nodes
        if (artifact := result.outcomes[node].artifact) is not None
    }

    def named(each: Evaluation) -> Evaluation:
        sampling = each.measurement.sampling
        if sampling is None or (by := sampling.dominated_by) is None:
            return each
        by = replace(by, name=names.get(by.digest or "", by.format or ""))
        sampling = replace(sampling, dominated_by=by)
        return replace(each, measurement=replace(each.measurement, sampling=sampling))

    return [replace(row, measurements=tuple(map(named, row.measurements))) for row in rows]


def _signature(model: _Model, result: RunResult) -> str | None:
    """Text that is equal for models with the same tensors; None where nothing tells."""
    outcome = result.outcomes[model.nodes[0]]
    own = outcome.artifact.manifest.facts if outcome.artifact else {}
    return signature(outcome.node.params, outcome.node.engine, outcome.node.inputs, own)


def _common(labels: Sequence[str]) -> str:
    """The words that all labels share."""
    first, *others = [label.split(" ") for label in labels] or [[]]
    return " ".join(word for word in first if all(word in other for other in others))


def _compared(
    rows: Sequence[ModelRow], models: Sequence[_Model], by_node: Mapping[str, _Model]
) -> list[ModelRow]:
    """Give scores their differences to the reference's under the same protocol and text."""
    row_of = {id(model): row for row, model in zip(rows, models, strict=True)}
    compared_rows = []
    for row, model in zip(rows, models, strict=True):
        reference = by_node.get(model.compared_with or "")
        candidates = (
            () if reference is None or model.references else row_of[id(reference)].measurements
        )
        compared = [compared_with(each, candidates) for each in row.measurements]
        compared_rows.append(replace(row, measurements=tuple(compared)))
    return compared_rows
