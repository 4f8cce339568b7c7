"""How far each node of a run is, by its events, and how long it and the run may still take.

Imports nothing: `qpipe status` must not take longer than looking at it.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own would cost `qpipe status` the import of typing
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    NodeState = dict[str, Any]

# The share of a node after which its own rate says how long it takes.
_TENTH = 0.1


def follow(nodes: dict[str, NodeState], event: Mapping[str, Any]) -> None:
    """Bring the states of nodes, by id, up to date with the record of an event.

    A state has ``name``, ``status`` (waiting, running, ran, cached, failed or skipped), and as far
    as they are known: ``expected`` seconds; ``since``, ``log`` and ``first`` (the node that began
    the same pass) of one that was started; ``done``, ``total``, ``unit``, ``note``, ``at`` of its
    progress, and ``from_done`` and ``from_at`` of its first; ``seconds`` and ``error`` at its end.
    """
    kind = event["event"]
    if kind == "RunStarted":
        for node, name in event["nodes"].items():
            nodes.setdefault(node, {"name": name, "status": "waiting"})
    elif kind == "Estimated":
        for node, seconds in event["seconds"].items():
            if node in nodes:
                nodes[node]["expected"] = seconds
    elif (state := nodes.get(event.get("node", ""))) is None:
        return
    elif kind == "NodeStarted":
        first = event.get("first") or event["node"]
        state.update(status="running", since=event["at"], log=event.get("log"), first=first)
    elif kind == "NodeProgress":
        _progress(state, event)
    elif kind == "NodeFinished":
        state.update(status=event["status"], seconds=event["seconds"], error=event.get("error"))


def _progress(state: NodeState, event: Mapping[str, Any]) -> None:
    state["note"] = event["note"]
    if event["note"] and not event["total"]:
        return  # what it does meanwhile takes nothing from how far it is
    state.update({name: event[name] for name in ("done", "total", "unit", "at")})
    state.setdefault("from_done", event["done"])
    state.setdefault("from_at", event["at"])


def seconds_left(state: Mapping[str, Any], now: float) -> float | None:
    """Return the seconds to go of a running node by its own rate, once a tenth of it is done; None
    before, and once all of it is: what follows then has no measure."""
    done, total = state.get("done", 0), state.get("total", 0)
    if not _TENTH * total <= done < total:
        return None
    begun, since = state.get("from_done", 0), state.get("from_at", state["since"])
    if done <= begun:  # one look at it so far: from its start
        begun, since = 0, state["since"]
    rate: float = (done - begun) / max(state["at"] - since, 1e-9)
    if rate <= 0:
        return None
    return float(max((total - done) / rate - (now - state["at"]), 0.0))


def run_seconds_left(states: Sequence[Mapping[str, Any]], now: float) -> float | None:
    """Return about how many seconds a run has to go; None until that can be said of all kinds.

    That of what runs, and of each node that waits what it is expected to take, shared among as many
    workers as there are now. Nodes of a kind that have ended say how far expectations are off;
    where there are none, what such nodes took on the average is expected.
    """
    ended = _ended(states)
    running: dict[str, list[Mapping[str, Any]]] = {}
    left: list[float | None] = []
    for state in states:
        if state["status"] == "running":
            running.setdefault(state["first"], []).append(state)
        elif state["status"] == "waiting":
            left.append(_expected(state, ended))
    passes = [_pass_left(together, ended, now) for together in running.values()]
    seconds = [each for each in [*left, *passes] if each is not None]
    if len(seconds) < len(left) + len(passes):
        return None
    return max([sum(seconds) / max(len(passes), 1), *seconds], default=0.0)


def _pass_left(
    together: Sequence[Mapping[str, Any]], ended: Mapping[str, Sequence[float]], now: float
) -> float | None:
    """The seconds to go of nodes that a worker makes in one pass."""
    by_rate = [left for each in together if (left := seconds_left(each, now)) is not None]
    if by_rate:
        return max(by_rate)
    expected = [seconds for each in together if (seconds := _expected(each, ended)) is not None]
    if len(expected) < len(together):
        return None
    since: float = together[0]["since"]
    return max(sum(expected) - (now - since), 0.0)


def _ended(states: Iterable[Mapping[str, Any]]) -> dict[str, Sequence[float]]:
    """Sums by kind: the number of nodes that ran, their seconds, and of those of which seconds were
    expected, the seconds and the expected ones."""
    sums: dict[str, list[float]] = {}
    for state in states:
        if state["status"] == "ran":
            total = sums.setdefault(_kind(state), [0.0] * 4)
            total[0] += 1
            total[1] += state["seconds"]
            if state.get("expected"):
                total[2] += state["seconds"]
                total[3] += state["expected"]
    return {**sums}


def _expected(state: Mapping[str, Any], ended: Mapping[str, Sequence[float]]) -> float | None:
    expected: float | None = state.get("expected")
    number, took, took_of_expected, expected_of_ended = ended.get(_kind(state), (0.0,) * 4)
    if expected is not None:
        return expected * took_of_expected / expected_of_ended if expected_of_ended else expected
    return took / number if number else None


def _kind(state: Mapping[str, Any]) -> str:
    """The stage of a node by its name, as ``perplexity`` of ``perplexity[Q4_0]``."""
    return str(state["name"]).partition("[")[0]
