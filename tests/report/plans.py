"""Plans of toy models and evaluations, run for real through the runner and a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qpipe.core.events import Emit
from qpipe.core.executor import WorkItem, WorkOutput
from qpipe.core.graph import Graph, Node, Plan, PlannedJob, Runtime
from qpipe.core.key import Json
from qpipe.core.manifest import Usage, scan
from qpipe.core.outcome import RunResult
from qpipe.core.run_settings import RunSettings
from qpipe.core.runner import run
from qpipe.core.store import ArtifactStore
from qpipe.errors import QpipeError, StageError
from qpipe.report.rows import comparison
from qpipe.results import record
from tests.core.synthetic import InstantExecutor

MACHINE: Mapping[str, Json] = {"processor": "Abacus 3000", "cores": 2, "system": "Linux 6"}


def node(
    name: str,
    stage: str,
    facts: Mapping[str, Json],
    *,
    inputs: Mapping[str, Node] | None = None,
    content: str | None = None,
    fails: str | None = None,
    **params: Json,
) -> Node:
    """A node that writes ``content`` and finds out ``facts``, or fails with a message."""
    return Node(
        name=name,
        stage=stage,
        version=1,
        params={"content": content or name, "facts": facts, "fails": fails, **params},
        engine={},
        inputs={role: source.id for role, source in (inputs or {}).items()},
        runtime=Runtime(entry="tests.report.plans:nothing"),
    )


def gguf(fmt: str, *, size: int, bpw: float, source: Node | None = None, **more: Any) -> Node:
    """A model: of stage quantize with a source, of stage convert without."""
    facts: dict[str, Json] = {"format": fmt, "size_bytes": size, "bits_per_weight": bpw}
    if source is None:
        return node("convert", "convert", facts, content=f"model {fmt}", outtype="f16", **more)
    name = f"quantize[{fmt}]"
    inputs = {"model": source}
    return node(name, "quantize", facts, inputs=inputs, content=f"model {fmt}", type=fmt, **more)


def text(name: str = "text") -> Node:
    return node(name, "download", {})


def perplexity(
    model: Node,
    ppl: float,
    on: Node,
    *,
    protocol: str = "llamacpp-512",
    backend: str = "llama.cpp 1",
    **more: Any,
) -> Node:
    facts: dict[str, Json] = {
        "ppl": ppl,
        "ppl_stderr": 0.25,
        "protocol": protocol,
        "text": f"{on.name}.txt",
        "tokens": 600,
        "tokens_scored": 300,
        "backend": backend,
        "notes": [],
        "seconds": 3.0,
        "tokens_per_second": 200.0,
    }
    inputs = {"model": model, "text": on}
    name = f"perplexity[{model.name} {protocol} {on.name} {backend}]"
    return node(name, "evaluate", facts, inputs=inputs, metric="perplexity", **more)


def job(
    label: str, stages: Mapping[str, Node], *, reference: Node | None = None
) -> tuple[PlannedJob, list[Node]]:
    ids = {name: made.id for name, made in stages.items()}
    overrides = [f"quantize.type={label}"] if label else []
    return PlannedJob(label, overrides, ids, reference.id if reference else None), [
        *stages.values()
    ]


def plan(*jobs: tuple[PlannedJob, list[Node]]) -> Plan:
    return Plan(
        Graph(made for _, nodes in jobs for made in nodes), [planned for planned, _ in jobs]
    )


def carry_out(
    planned: Plan, root: Path, *, emit: Emit = lambda event: None, keep_going: bool = True
) -> RunResult:
    """Run a plan in a store at ``root``."""
    store = ArtifactStore(root)
    executor = InstantExecutor(work=_work, room=1)
    try:
        settings = RunSettings(keep_going=keep_going)
        return run(planned.graph, store=store, executor=executor, emit=emit, settings=settings)
    finally:
        store.close()


def _work(done: WorkItem) -> WorkOutput | QpipeError:
    params = done.node.params
    if params["fails"]:
        return StageError(f"{done.node.name}: {params['fails']}")
    name = "result.json" if done.node.stage == "evaluate" else "model.gguf"
    (done.out / name).write_text(str(params["content"]))
    facts = params["facts"]
    assert isinstance(facts, Mapping)
    return WorkOutput(scan(done.out), facts, usage=Usage(seconds=2.0), machine=MACHINE)


def demo() -> Plan:
    """F16 (which comes out as the reference), Q8_0 and Q4_0, each measured."""
    reference, on = gguf("F16", size=2000, bpw=16.0), text()
    jobs = []
    for fmt, size, bpw, ppl in (
        ("F16", 2000, 16.0, 10.0),
        ("Q8_0", 1000, 8.5, 10.5),
        ("Q4_0", 500, 4.5, 12.0),
    ):
        made = gguf(fmt, size=size, bpw=bpw, source=reference)
        jobs.append(
            job(
                fmt,
                {
                    "convert": reference,
                    "quantize": made,
                    "text": on,
                    "perplexity": perplexity(made, ppl, on, content=f"ppl {ppl}"),
                    "perplexity_reference": perplexity(reference, 10.0, on, content="ppl 10.0"),
                },
                reference=reference,
            )
        )
    return plan(*jobs)


def records(planned: Plan, result: RunResult) -> list[dict[str, Any]]:
    """The rows of what came out, as run.json has them."""
    return record.rows(comparison(planned, result))


def rows_by_name(rows: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {row["name"]: row for row in rows}
