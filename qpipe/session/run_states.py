"""The runs in a folder and how far each has come, by the events that it has written so far.

Imports next to nothing: a list of runs must not take longer than looking at it.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

from qpipe.errors import UsageError, nearest
from qpipe.report.node_states import follow
from qpipe.support.files import is_folder, open_regular, up_to

TYPE_CHECKING = False  # typing's own would cost `qpipe runs` the import of typing
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, BinaryIO

    Record = dict[str, Any]

EVENTS = "events.jsonl"
LATEST = "latest"

# Bytes of a log of events that are read, and of its end, in which the last event stands.
_MOST = 1 << 28
_END = 1 << 14


def states(runs: str) -> list[Record]:
    """Return a record of each run below the folder ``runs``, the newest first: name, models, status
    (running, done, failed, interrupted or damaged), counts of ended nodes by status, and times in
    seconds. Raises UsageError for a folder that cannot be read.
    """
    records = [summary(f"{runs}/{name}", name) for name in _names(runs)]
    return sorted(records, key=lambda record: (-record["started"], record["name"]))


def state(run: str, runs: str) -> Record:
    """Return the record of one run, as in `states`, with its ``nodes``, in graph order: name,
    status (waiting, running, ran, cached, failed or skipped), seconds, and of one that runs its
    progress and log.

    ``run`` is a name below ``runs``, a run's folder, or ``latest``. Raises UsageError for none.
    """
    folder = _folder(run, runs)
    path = f"{folder}/{EVENTS}"
    record = summary(folder, os.path.basename(os.path.abspath(folder)))  # noqa: PTH100,PTH119
    try:
        with open_regular(path) as file:
            events = [*_events(up_to(file, _MOST).splitlines())]
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from None
    nodes = _nodes(events, running=record["status"] == "running")
    return {**record, "models": _models(events), "nodes": nodes}


def summary(folder: str, name: str) -> Record:
    """Return the record of one run, as in `states`, from the beginning and the end of its log."""
    record: Record = {
        "name": name,
        "models": [],
        "status": "",
        "started": 0.0,
        "seconds": 0.0,
        "counts": {},
        "path": os.path.abspath(folder),  # noqa: PTH100
    }
    try:
        with open_regular(f"{folder}/{EVENTS}") as file:
            held = _is_held(file)
            first = next(_events([file.readline(_MOST)]))
            file.seek(-min(_END, os.fstat(file.fileno()).st_size), os.SEEK_END)
            last = [first, *_events(file.read(_END).splitlines())][-1]
            record["started"] = float(first["at"])
            record["models"] = _models([first])
            record["seconds"] = max(0.0, float(last["at"]) - record["started"])
            if last["event"] == "RunFinished" and not held:
                record["status"], record["counts"] = str(last["status"]), dict(last["counts"])
            else:
                file.seek(0)
                record["status"] = "running" if held else "interrupted"
                record["counts"] = _counts(_events(up_to(file, _MOST).splitlines()))
    except (OSError, StopIteration, KeyError, TypeError, ValueError):
        record["status"] = "damaged"
    return record


def _models(events: Iterable[dict[str, Any]]) -> list[str]:
    """The models of a run: of each batch of jobs, as it begins; none of an older run."""
    batches = [event.get("made_for") for event in events if event["event"] == "RunStarted"]
    names = [name for batch in batches if isinstance(batch, list) for name in batch]
    return [*dict.fromkeys(name for name in names if isinstance(name, str))]


def _counts(events: Iterable[dict[str, Any]]) -> dict[str, int]:
    """Ended nodes by their status."""
    counts: dict[str, int] = {}
    for event in events:
        if event["event"] == "NodeFinished":
            counts[event["status"]] = counts.get(event["status"], 0) + 1
    return counts


def _is_held(file: BinaryIO) -> bool:
    """Return whether the process that writes a log still lives: it holds a lock of it."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return False
    fcntl.flock(file, fcntl.LOCK_UN)
    return False


def _events(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The events of a log's lines; the last line may still be in the writing."""
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and isinstance(event.get("event"), str):
            yield event


def _nodes(events: Iterable[dict[str, Any]], *, running: bool) -> list[dict[str, Any]]:
    nodes: dict[str, dict[str, Any]] = {}
    for event in events:
        follow(nodes, event)
    for node in nodes.values():
        if node["status"] == "running" and not running:
            node["status"] = "interrupted"
    return [*nodes.values()]


def _folder(run: str, runs: str) -> str:
    """The folder of a run by its name."""
    if run == LATEST:
        if not (names := states(runs)):
            raise UsageError(f"there is no run in {runs} yet; --runs DIR names another folder")
        return str(names[0]["path"])
    for folder in (f"{runs}/{run}", run):
        if run and os.path.isfile(f"{folder}/{EVENTS}"):  # noqa: PTH113
            return folder
    if os.path.basename(run) == LATEST and is_folder(Path(run).parent):  # noqa: PTH119
        return _folder(LATEST, str(Path(run).parent))
    names_here = _names(runs)
    hint = nearest(run, [LATEST, *names_here]) if names_here else "there is none yet"
    raise UsageError(f"there is no run {run!r} in {runs}; {hint}")


def _names(runs: str) -> list[str]:
    if not is_folder(runs):
        return []
    try:
        with os.scandir(runs) as folders:
            return [f.name for f in folders if os.path.isfile(f"{f.path}/{EVENTS}")]  # noqa: PTH113
    except OSError as error:
        raise UsageError(f"{runs}: this folder cannot be read ({error.strerror})") from None
