"""Task folders of the user's own: what they may say, and where their data lies.

Invariant: a task file is data. What could run code (`!function`, a class, metrics and data set
loaders that are not lm-eval's own) is refused, unless the recipe names the digest of the very
folder that it trusts; what could read files that the key does not cover is refused always.
Templates are rendered in a sandbox (``loader``).
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from qpipe import yamlbounds
from qpipe.core.key import content_digest, file_sha256
from qpipe.core.layout import MANIFEST
from qpipe.errors import DataError
from qpipe.support.files import exists, is_file, read_file

# Readers of datasets 5.2.0 that only parse; others (pandas: pickles, sql, …) may run what they
# read.
READERS = ("json", "csv", "parquet", "text")
_ON_THE_HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# What a task may hand to `datasets.load_dataset`.
_DATA_SETTINGS = (
    "data_files", "field", "delimiter", "sep", "column_names", "encoding", "quotechar", "revision",
    "data_dir", "trust_remote_code",
)  # fmt: skip


# Of a task file, its anchors expanded; lm-eval's own have some hundred at most.
_MOST_VALUES = 200_000
_MOST_DEPTH = 100
_MOST_BYTES = 1 << 24
_MOST_INCLUDES = 100


class _Code(str):
    """The text of a `!function`."""


class _TaskLoader(yamlbounds.Loader):
    pass


_TaskLoader.add_constructor("!function", lambda loader, node: _Code(loader.construct_scalar(node)))


@dataclass(frozen=True)
class TaskFolder:
    """A folder that was checked; ``trusted`` if its code may run. ``digest`` names its content.

    ``configs`` is what each task file says together with all that it includes: what was checked,
    and so what lm-eval is given, which would read the files by itself.
    """

    path: Path
    digest: str
    trusted: bool
    configs: Mapping[Path, Mapping[str, Any]]


def check(folder: Path, *, trusted: str | None, metrics: Set[str]) -> TaskFolder:
    """Check all task files of a folder; ``metrics`` are those that lm-eval has itself.

    Raises DataError, naming file and field.
    """
    digest = _digest(folder)
    if trusted is not None and trusted != digest:
        raise DataError(
            f"evaluate.trust_task_code names {trusted[:12]}…, and the folder of tasks is {digest}: "
            "it is not what you have read. Look at it again, then name this digest"
        )
    files = sorted(folder.rglob("*.yaml"))
    if not files:
        raise DataError("the folder of tasks (evaluate.include_path) holds no *.yaml file")
    reader = _TaskReader(folder, digest, None if trusted else metrics)
    return TaskFolder(
        folder, digest, trusted is not None, {file: reader.whole(file, ()) for file in files}
    )


@dataclass(frozen=True)
class _TaskReader:
    """Reads task files of ``root``, whatever their names. ``metrics`` are None in a folder whose
    code is trusted."""

    root: Path
    digest: str
    metrics: Set[str] | None
    configs: dict[Path, dict[str, Any]] = field(default_factory=dict)

    def whole(self, file: Path, above: tuple[Path, ...]) -> dict[str, Any]:
        """A file with what it includes under it, as lm-eval's `load_yaml` puts them together."""
        if file not in self.configs:
            self.configs[file] = self._put_together(file, above)
        return copy.deepcopy(self.configs[file])

    def _put_together(self, file: Path, above: tuple[Path, ...]) -> dict[str, Any]:
        name = file.relative_to(self.root).as_posix()
        if len(above) > _MOST_INCLUDES:
            raise DataError(f"{name}: the last of more than {_MOST_INCLUDES} includes")
        fields = _read(file, name)
        for at, value in _fields(fields):
            _refuse_reaching_out(name, at, value, file.parent, self.root)
            if self.metrics is not None and (code := _runs_code(at, value, self.metrics)):
                raise DataError(
                    f"{name}: {at} {code}, and a recipe runs no code that comes with a task. "
                    "Do without; or read the folder's files and, if you trust them, set "
                    f"evaluate.trust_task_code={self.digest}"
                )
        includes = fields.pop("include", [])
        merged: dict[str, Any] = {}
        for include in includes if isinstance(includes, list) else [includes]:
            if not isinstance(include, str):
                raise DataError(f"{name}: include: {include!r} is not the name of a file beside it")
            target = Path(os.path.normpath(file.parent / include))
            if target in (*above, file):
                raise DataError(f"{name}: include: {include} leads back to this file")
            merged |= self.whole(target, (*above, file))
            merged.pop("task_list", None)
        return merged | fields


def with_data_of(config: Mapping[str, Any], folder: Path, root: Path) -> dict[str, Any]:
    """A task's configuration with the paths of its data files made absolute."""
    located = dict(config)
    if isinstance(kwargs := located.get("dataset_kwargs"), Mapping) and _is_local(located):
        files = kwargs.get("data_files")
        located["dataset_kwargs"] = {**kwargs, "data_files": _located(files, folder, root)}
    if isinstance(located.get("task"), list):
        located["task"] = [
            with_data_of(one, folder, root) if isinstance(one, Mapping) else one
            for one in located["task"]
        ]
    return located


def data_sets(config: Mapping[str, Any]) -> list[str]:
    """Every ``dataset_path`` of a task's configuration, or of those in a group's."""
    fields = _fields(config)
    return [str(value) for name, value in fields if name.split(".")[-1] == "dataset_path" and value]


def _is_local(config: Mapping[str, Any]) -> bool:
    # A task inside a group may leave its reader to the group.
    return not _ON_THE_HUB.fullmatch(str(config.get("dataset_path")))


def _located(files: Any, folder: Path, root: Path) -> Any:
    if isinstance(files, Mapping):
        return {split: _located(some, folder, root) for split, some in files.items()}
    if isinstance(files, list):
        return [_located(one, folder, root) for one in files]
    if files is None:
        return None
    near = folder / str(files)
    return str(near if exists(near) else root / str(files))


def _digest(folder: Path) -> str:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return content_digest(
        (path.relative_to(folder).as_posix(), path.stat().st_size, file_sha256(path))
        for path in files
    )


def _read(file: Path, name: str) -> dict[str, Any]:
    try:
        text = read_file(file, DataError, most=_MOST_BYTES)
        yamlbounds.check(text, most_values=_MOST_VALUES, most_depth=_MOST_DEPTH)
        fields = yaml.load(text, Loader=_TaskLoader)
    except (yaml.YAMLError, yamlbounds.TooLargeError) as error:
        raise DataError(f"{name}: not a task file: {error}") from None
    if not isinstance(fields, dict):
        raise DataError(f"{name}: a task file is a mapping, not a {type(fields).__name__}")
    return fields


def _fields(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """Every (dotted field, value), containers included."""
    if at:
        yield at, value
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _fields(inner, f"{at}.{key}" if at else str(key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _fields(inner, f"{at}[{number}]")


def _runs_code(field: str, value: Any, metrics: Set[str]) -> str | None:
    """Say in a few words what of this field would run code; None if nothing would."""
    last = field.rpartition(".")[2]
    if isinstance(value, _Code):
        return f"is code (!function {value})"
    if field == "class":
        return f"is code ({value})"
    if last == "unsafe_code" and value:
        return "asks to run what the model writes"
    if last == "hf_evaluate" and value:
        return "loads a metric's code from the hub"
    if last == "metric" and str(value) not in metrics:
        return f"is {value!r}, no metric of lm-eval's own, so that its code would be looked for"
    if last == "dataset_path" and not (
        value in READERS or value is None or _ON_THE_HUB.fullmatch(str(value))
    ):
        return (
            f"is {value!r}, whose reader may run what it reads (known to be data alone: "
            f"{', '.join(READERS)}, and OWNER/NAME on the hub)"
        )
    return None


def _refuse_reaching_out(name: str, field: str, value: Any, folder: Path, root: Path) -> None:
    """Raise for what lies outside of the folder: the key of a result would not cover it."""
    parts = re.split(r"[.\[]", field)
    if parts[-1] == "use_prompt" and value:
        raise DataError(f"{name}: {field}: prompts from elsewhere are no part of the folder")
    if len(parts) > 1 and parts[-2] == "dataset_kwargs" and parts[-1] not in _DATA_SETTINGS:
        raise DataError(
            f"{name}: {field}: a task may give its reader {', '.join(_DATA_SETTINGS[:-1])}"
        )
    if parts[0] != "include" and "data_files" not in parts and parts[-1] != "data_dir":
        return
    if not isinstance(value, str):
        return
    target = folder / value
    if "://" in value or value.startswith("~") or not _inside(target, root):
        raise DataError(
            f"{name}: {field}: {value} is outside of the folder of tasks; put the file into it, so "
            "that the result's key covers it"
        )
    if parts[0] == "include" and not is_file(target):
        raise DataError(f"{name}: {field}: there is no {value} beside it")


def _inside(path: Path, root: Path) -> bool:
    # Not resolved: the files of an artifact may be links.
    depth = 0
    for part in path.relative_to(root).parts if path.is_relative_to(root) else ("..",):
        depth += -1 if part == ".." else 1
        if depth < 0:
            return False
    return True
