"""What the stages say of nodes that are not in the store: previews, and what would fail.

Asking them imports each stage and reads the headers of models, which takes several times what
composing and pinning do. So the answers are remembered, one file a request, under a digest of all
that they hang on: every node with its inputs (sources are pinned by content), what the store has
of each, the settings of the executor, this machine, and what is installed. Nothing is remembered
that hangs on more, or may hold a secret: where the hub did not answer, an engine is missing here
or works in an environment of its own, a stage is a plugin's, or is given a variable's value.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qpipe import errors
from qpipe.core import file_lock
from qpipe.core.env_values import hides_any
from qpipe.core.forecast import Forecast
from qpipe.core.graph import Node
from qpipe.core.key import composition_key
from qpipe.core.layout import RunPaths, StorePaths
from qpipe.errors import QpipeError
from qpipe.machine.capacity import usable_memory
from qpipe.recipe import draft_cache
from qpipe.results.preview import Preview
from qpipe.session.context import Context
from qpipe.sources.hub_source import hub_source

if TYPE_CHECKING:
    from qpipe.recipe.draft import ExecutorDraft

Outlook = Mapping[str, Preview | QpipeError]
"""Maps ids of nodes to previews, or to the errors of those that would fail."""

_FORMAT = 1


def outlook(
    context: Context, forecasts: Sequence[Forecast], executor: ExecutorDraft
) -> dict[str, Preview | QpipeError]:
    """Return what is to be said of the nodes that are not in the store, remembered or asked."""
    file = _file(context)
    question = _question(forecasts, executor)
    remembered = _recall(file, question)
    if remembered is not None:
        return remembered
    from qpipe.executors.factory import make
    from qpipe.session.inputs import available
    from qpipe.session.previews import previews
    from qpipe.session.refusals import missing

    with available(forecasts) as inputs:
        foreseen = previews(forecasts, inputs)
    lacking = missing(forecasts, make(paths=RunPaths(context.runs), **executor))
    answers = foreseen | lacking
    if inputs.answered and not lacking and all(map(_may_be_kept, _asked(forecasts))):
        _remember(file, question, answers)
    return answers


def _file(context: Context) -> Path:
    asked = draft_cache.asked(context.request, Path.cwd())
    return StorePaths(context.store).outlooks / composition_key(asked)


def _asked(forecasts: Iterable[Forecast]) -> list[Node]:
    return [item.node for item in forecasts if item.state != "cached" or item.node.runtime.asides]


def _question(forecasts: Iterable[Forecast], executor: ExecutorDraft) -> str:
    """A digest of all that the answers hang on."""
    nodes: list[Any] = [_described(item) for item in forecasts]
    settings: Any = dict(executor)
    return composition_key([_FORMAT, draft_cache.here(), usable_memory(), settings, nodes])


def _described(item: Forecast) -> list[Any]:
    node, runtime = item.node, item.node.runtime
    return [
        *(node.id, node.name, item.state, item.key, item.made_before),
        str(item.artifact.path.absolute()) if item.artifact else None,
        *(runtime.entry, asdict(runtime.resources), runtime.python, {**runtime.where}),
        *({**runtime.asides}, sorted(runtime.dispensable), sorted(runtime.nameless)),
        {role: [*patterns] for role, patterns in runtime.unread.items()},
        _fetched(item),
    ]


def _fetched(item: Forecast) -> list[str]:
    """The files of a repository that the hub's cache has, where the store has none."""
    source = hub_source(item.node.params) if item.artifact is None else None
    if source is None:
        return []
    from qpipe.sources import hub

    return hub.cached(source)


def _may_be_kept(node: Node) -> bool:
    """Tell whether a stage comes with qpipe, works in this environment, and is given no value of a
    variable, which may be a secret."""
    from qpipe.engines.common.isolated_engine import IsolatedEngine
    from qpipe.session.inputs import stage_of
    from qpipe.stages.plugins import is_shipped

    stage = stage_of(node.runtime.entry)
    secret = hides_any({**node.params, **node.runtime.asides})
    return is_shipped(stage) and not issubclass(stage, IsolatedEngine) and not secret


def _recall(file: Path, question: str) -> dict[str, Preview | QpipeError] | None:
    try:
        record = json.loads(file.read_bytes())
        if record["question"] != question:
            return None
        return {node: _read(answer) for node, answer in record["answers"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None  # not there, cut short, or of another make


def _read(answer: Mapping[str, Any]) -> Preview | QpipeError:
    if "error" in answer:
        known: type[QpipeError] = getattr(errors, answer["error"])
        return known(answer["message"])
    return Preview(**answer)


def _remember(file: Path, question: str, answers: Outlook) -> None:
    """Keep the answers; a store that is full or read-only does without."""
    records = {}
    for node, answer in answers.items():
        if isinstance(answer, QpipeError):
            if getattr(errors, type(answer).__name__, None) is not type(answer):
                return
            records[node] = {"error": type(answer).__name__, "message": str(answer)}
        else:
            records[node] = asdict(answer)
    data = json.dumps({"question": question, "answers": records}).encode()
    try:
        file_lock.write_atomic(file, data, sync=False)
    except OSError:
        return
