"""Every error a user can meet, and the exit code that goes with it.

::

    QpipeError                      1
    ├── UsageError                  2   the command line, a recipe or a graph is wrong
    │   ├── RecipeError             2   a field of a recipe: file, dotted field, value, fix
    │   └── GraphError              2   a cycle, an unknown stage, a missing input
    ├── StageError                  1   a stage could not do its work
    │   ├── SourceError             1   a model or text could not be had (network, gated, missing)
    │   │   ├── UnreachableError    1   nobody answered: no network, or the hub is down
    │   │   └── MissingPathError    2   a path that was given is not there
    │   ├── CheckpointError         1   a checkpoint is truncated, contradictory or not understood
    │   ├── DataError               1   a text, tokenizer or metric input is unusable
    │   ├── OutOfSpaceError         1   the disk is full
    │   ├── OutOfMemoryError        1   a worker ran out of memory
    │   ├── WorkerCrashError        1   a worker died of a signal or an unexpected exception
    │   └── StageTimeoutError       1   a worker ran longer than it may
    ├── StoreError                  1   the artifact store is damaged or cannot be written
    ├── PublishError                1   an upload was refused, or ended early
    ├── EngineMissingError          3   an engine or tool is not usable here
    └── InterruptedRunError       130   the user stopped the run

`qpipe check` ends with 5 for a regression and 6 for what is not decided or odd, which are answers
and no errors (`qpipe/gate/verdicts.py`).

Foreign exceptions become one of these where they enter qpipe; `from_record` brings back what
a worker process wrote about its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping


class QpipeError(Exception):
    """Something the user can act on: the message says what happened, where, and what to do."""

    exit_code = 1


class UsageError(QpipeError):
    """The command line, a recipe or a graph is wrong; nothing ran."""

    exit_code = 2


class RecipeError(UsageError):
    """A recipe is wrong; the message names file, field, value and fix."""


class GraphError(UsageError):
    """Stages do not form a runnable graph."""


class StageError(QpipeError):
    """A stage could not do its work."""


class SourceError(StageError):
    """A model, text or data set could not be had."""


class UnreachableError(SourceError):
    """The place that has a model, text or data set did not answer."""


class MissingPathError(SourceError):
    """A file or folder that was given as an argument or in a recipe is not there."""

    exit_code = 2


class CheckpointError(StageError):
    """A checkpoint is missing parts, is damaged, or is of a kind that is not understood."""


class DataError(StageError):
    """A text, a tokenizer or another input of a measurement is unusable."""


class OutOfSpaceError(StageError):
    """The disk that holds the store or the run folder is full."""


class OutOfMemoryError(StageError):
    """A worker needed more memory than there was, or than it was allowed."""


class WorkerCrashError(StageError):
    """A worker process died of a signal, or of an exception that nobody expected."""


class StageTimeoutError(StageError):
    """A worker ran longer than its stage may."""


class StoreError(QpipeError):
    """The artifact store is damaged or cannot be written."""


class PublishError(QpipeError):
    """An upload was refused, or ended early."""


class EngineMissingError(QpipeError):
    """An engine or tool is not usable on this machine."""

    exit_code = 3


class InterruptedRunError(QpipeError):
    """The user stopped the run; finished work is kept."""

    exit_code = 130


def from_record(record: Mapping[str, str]) -> QpipeError:
    """The error that a worker wrote as ``{"type", "message"}``; an unknown type is a crash."""
    known = {cls.__name__: cls for cls in _tree(QpipeError)}
    return known.get(record["type"], WorkerCrashError)(record["message"])


def placed(message: str, places: Mapping[str, str]) -> str:
    """A message with each folder in it called what its user calls it."""
    for folder, name in places.items():
        message = message.replace(folder, name)
    return message


def _tree(root: type[QpipeError]) -> Iterable[type[QpipeError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)


def quoted(value: object, *, most: int = 120) -> str:
    """``value`` as a message shows what a file holds: as `repr`, its middle cut if it is long."""
    shown = repr(value)
    if len(shown) <= most:
        return shown
    side = most // 2
    return f"{shown[:side]} … {shown[-side:]} ({len(shown):,} characters)"


def nearest(name: str, known: Iterable[str], *, most: int = 12) -> str:
    """Half a sentence for an unknown name: the near misses, else the list (cut after ``most``)."""
    names = sorted(known)
    import difflib  # costs more than the rest of this module, and most commands fail not

    close = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if close:
        return "did you mean " + " or ".join(repr(n) for n in close) + "?"
    shown = ", ".join(names[:most]) + (", …" if len(names) > most else "")
    return f"known: {shown}" if names else "none are known"


def by_reason(jobs: Iterable[tuple[str, str]]) -> list[str]:
    """A line for each reason of jobs, given as (name, reason), with the first that has it."""
    names: dict[str, list[str]] = {}
    for name, why in jobs:
        names.setdefault(why, []).append(name)
    return [
        f"{first}{f' and {len(more)} other' + 's' * (len(more) > 1) if more else ''}: {why}"
        for why, (first, *more) in names.items()
    ]


def reason(error: BaseException) -> str:
    """The words of another library's exception in one line.

    The first line of pydantic's (2) only counts what is wrong: field and reason of each instead.
    """
    listed = getattr(error, "errors", None)
    if type(error).__name__ == "ValidationError" and callable(listed):
        return "; ".join(
            f"{'.'.join(map(str, item['loc'])) or error.title}: {item['msg']}"  # type: ignore[attr-defined]
            for item in listed()
        )
    return str(error)
