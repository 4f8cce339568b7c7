"""The state of a run as lines."""

from __future__ import annotations

from qpipe.report import numbers
from qpipe.report.node_states import run_seconds_left, seconds_left

TYPE_CHECKING = False  # typing's own would cost `qpipe status` the import of typing
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from qpipe.session.run_states import Record

# Nodes of one status that have a line each; of more, the rest is counted.
_MOST = 12


def lines(state: Record, now: float) -> Iterator[str]:
    """Return the lines: the run, then what runs, what failed, what ended and what waits."""
    nodes = state["nodes"]
    by = {status: [n for n in nodes if n["status"] == status] for status in _STATUSES}
    ended = [node for status in ("ran", "cached", "failed", "skipped") for node in by[status]]
    took = now - state["started"] if state["status"] == "running" else state["seconds"]
    yield f"{state['name']}  {state['status']}, {len(ended)} of {len(nodes)} nodes"
    if state["models"]:
        yield f"  models: {', '.join(state['models'])}"
    yield f"  began {numbers.age(now - state['started'])} ago, took {numbers.duration(took)}"
    if state["status"] == "running" and (left := run_seconds_left(nodes, now)) is not None:
        yield f"  about {numbers.duration(left)} to go, by what such nodes take"
    for status in _STATUSES:
        yield from _of_status(status, by[status], now)
    if state["status"] == "interrupted":
        yield "What is finished is kept: give the same command again, and it goes on from there."


_STATUSES = ("running", "interrupted", "failed", "ran", "cached", "skipped", "waiting")


def _of_status(status: str, nodes: Sequence[dict[str, Any]], now: float) -> Iterator[str]:
    if not nodes:
        return
    yield f"{status}: {len(nodes)}"
    shown = nodes if status in ("running", "failed", "interrupted") else nodes[:_MOST]
    for node in shown:
        yield f"  {node['name']}{_about(node, now)}"
    if len(shown) < len(nodes):
        yield f"  … and {len(nodes) - len(shown)} more"


def _about(node: dict[str, Any], now: float) -> str:
    if node["status"] == "running":
        return "".join(f"  {part}" for part in _progress(node, now))
    if node["status"] == "ran":
        return f"  {numbers.duration(node['seconds'])}"
    if node["status"] == "failed":
        log = f"\n    log: {node['log']}" if node.get("log") else ""
        return f": {(node.get('error') or '').splitlines()[0]}{log}"
    return f" (because of {node['error']})" if node["status"] == "skipped" else ""


def _progress(node: dict[str, Any], now: float) -> Iterator[str]:
    yield f"{numbers.duration(now - node['since'])} so far"
    if node.get("total"):
        yield f"{node['done'] / node['total']:.0%} of {node['total']:,} {node['unit']}"
    if (left := seconds_left(node, now)) is not None:
        yield f"about {numbers.duration(left)} to go"
