"""Which tasks lm-eval's groups and tags hold, from the text of its files alone: it is not imported,
so that a plan can know."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_GROUP = re.compile(rb"""^["']?group["']?:""", re.MULTILINE)
_TASK = re.compile(r"""^["']?task["']?:[ \t]*["']?([\w.:+-]+)["']?[ \t]*$""", re.MULTILINE)
_TAGS = re.compile(r"""^["']?tag["']?:[ \t]*(\S.*|(?:\n[ \t]*-.*)+)$""", re.MULTILINE)
_NAME = re.compile(r"[\w.:+-]*\w[\w.:+-]*")


@dataclass(frozen=True)
class TaskIndex:
    """The members of each group, as they are named there, and the tasks of each tag."""

    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    tags: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def tasks(self, name: str, above: frozenset[str] = frozenset()) -> frozenset[str]:
        """The tasks that a name stands for."""
        if name in above:
            return frozenset()
        if name in self.groups:
            inner = (self.tasks(member, above | {name}) for member in self.groups[name])
            return frozenset().union(*inner)
        return frozenset(self.tags.get(name, [name]))

    def overlap(self, names: Sequence[str]) -> tuple[str, str, str] | None:
        """(name, another name, a task of both), where lm-eval refuses the two together: a group,
        and what shares a task with it."""
        owners: dict[str, str] = {}
        for name in names:
            whole = name in self.groups
            for task in sorted(self.tasks(name)):
                owner = name if whole else task
                if owners.setdefault(task, owner) != owner:
                    return owners[task], name, task
        return None

    def with_own(self, folder: Path) -> TaskIndex:
        """Beside those of ``folder``, which go before others of the same name."""
        own = _of(folder)
        return TaskIndex({**self.groups, **own.groups}, {**self.tags, **own.tags})


@cache
def shipped() -> TaskIndex:
    """lm-eval's own; empty if it is not installed."""
    spec = find_spec("lm_eval")
    if spec is None or spec.origin is None:
        return TaskIndex()
    return _of(Path(spec.origin).parent / "tasks")


def _of(folder: Path) -> TaskIndex:
    groups: dict[str, Sequence[str]] = {}
    tags: dict[str, list[str]] = {}
    for file in sorted(folder.rglob("*.yaml")):
        data = file.read_bytes()
        if _GROUP.search(data):
            groups |= _group(data)
        elif task := _TASK.search(text := data.decode("utf-8", "replace")):
            for tag in _tags(text):
                tags.setdefault(tag, []).append(task[1])
    return TaskIndex(groups, tags)


def _group(data: bytes) -> dict[str, Sequence[str]]:
    import yaml

    try:
        config = yaml.load(data, Loader=_Plain)
    except yaml.YAMLError:
        return {}
    return dict(_groups(config))


def _groups(entry: Any) -> Iterator[tuple[str, Sequence[str]]]:
    """A group, and those that are written out inside it."""
    if not isinstance(entry, Mapping) or not isinstance(entry.get("group"), str):
        return
    members = entry.get("task")
    listed = members if isinstance(members, list) else [members]
    yield entry["group"], [name for member in listed if (name := _member(member))]
    for member in listed:
        yield from _groups(member)


def _member(entry: Any) -> str | None:
    if isinstance(entry, Mapping):
        entry = entry.get("group", entry.get("task"))
    return entry if isinstance(entry, str) else None


def _tags(text: str) -> list[str]:
    entry = _TAGS.search(text)
    return [] if entry is None else _NAME.findall(entry[1])


def _plain_loader() -> Any:
    import yaml

    class Plain(yaml.SafeLoader):  # type: ignore[misc]  # yaml is untyped
        """Takes ``!function`` for nothing."""

    Plain.add_constructor("!function", lambda loader, node: None)
    return Plain


_Plain = _plain_loader()
