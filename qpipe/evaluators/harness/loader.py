"""Tasks by name: the user's own folder first, then lm-eval's, of which only what is asked is read.

lm-eval's index of all its tasks takes some 16 s to make; which of its folders define a name is seen
from their text in one. Templates are rendered in Jinja's sandbox, whoever wrote them.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import datasets
import httpx
import lm_eval.tasks
import lm_eval.utils
from jinja2 import Template, TemplateError
from jinja2.sandbox import SandboxedEnvironment
from lm_eval.api.registry import metric_registry
from lm_eval.tasks import TaskManager

from qpipe.errors import DataError, SourceError, nearest
from qpipe.evaluators.harness import task_folder
from qpipe.support.files import is_folder

_SHIPPED = Path(lm_eval.tasks.__file__).parent
_DEFINED = re.compile(rb"""^(?:task|group|tag):\s*["']?([\w.:+-]+)["']?\s*$""", re.MULTILINE)
# lm-eval's own default for the choice of examples (simple_evaluate, fewshot_random_seed).
_SEED = 1234


@dataclass(frozen=True)
class LoadedTasks:
    """Tasks for lm-eval's `evaluate` (``tasks``), and which of them to report (``reported``)."""

    tasks: Mapping[str, Any]
    reported: Sequence[str]
    folder: task_folder.TaskFolder | None


def load(
    names: Sequence[str],
    *,
    include_path: Path | None,
    trusted: str | None,
    num_fewshot: int | None,
    gen_kwargs: Mapping[str, Any] | None,
) -> LoadedTasks:
    """Tasks, groups and tags with their data sets.

    Raises DataError (no such task, a task that may not run), SourceError (its data set).
    """
    _sandbox_templates()
    datasets.disable_progress_bars()
    folder = None
    if include_path is not None:
        import lm_eval.api.metrics  # noqa: F401  fills the registry

        folder = task_folder.check(
            include_path, trusted=trusted, metrics=set(metric_registry.keys())
        )
    manager = _manager(names, folder)
    _refuse_folders_here(names, manager)
    with _our_errors(names):
        tasks = manager.load(list(names))
    for name, task in tasks["tasks"].items():
        _refuse_unsafe(name, task)
        _set(task, num_fewshot=num_fewshot, gen_kwargs=gen_kwargs)
        _refuse_random(name, task)
    return LoadedTasks(tasks, _reported(names, manager, tasks), folder)


def _sandbox_templates() -> None:
    """Put Jinja's sandbox under lm-eval's templates."""
    # lm-eval 0.4.13 renders with a plain jinja2.Environment (lm_eval/utils.py, env), in which a
    # template can reach any Python object.
    plain = lm_eval.utils.env
    if not isinstance(plain, _Templates):
        guarded = _Templates(
            loader=plain.loader, undefined=plain.undefined, keep_trailing_newline=True
        )
        guarded.filters |= plain.filters
        lm_eval.utils.env = guarded


class _Templates(SandboxedEnvironment):
    """Compiles a template once."""

    # lm-eval 0.4.13 compiles it anew with each document (lm_eval/utils.py, apply_template).
    @functools.cache  # noqa: B019  there is one environment a process
    def from_string(self, source: str) -> Template:  # type: ignore[override]
        """A compiled template."""
        return super().from_string(source)


def _manager(names: Sequence[str], folder: task_folder.TaskFolder | None) -> Any:
    """A TaskManager that knows all the names, and no more than it must."""
    # With its defaults lm-eval 0.4.13 parses all of its 14,000 files, which takes some 16 s.
    own = [folder.path] if folder else []
    manager = TaskManager(include_path=own or None, include_defaults=False)
    if _missing(names, manager):
        shipped = _folders_defining(set(names))
        manager = TaskManager(include_path=[*shipped, *own], include_defaults=False)
    if _missing(names, manager):
        manager = _everything(own)
    for name in names:
        if name not in manager.task_index:
            raise DataError(
                f"evaluate.tasks: there is no task {name!r}; {nearest(name, manager.all_tasks)}"
            )
    if folder:
        _make_own(manager, folder)
    return manager


def _everything(own: Sequence[Path]) -> Any:
    return TaskManager(include_path=list(own) or None)


def _missing(names: Sequence[str], manager: Any) -> bool:
    """True if a name, or what a group of that name holds, is not in the index."""
    index = manager.task_index
    for name in names:
        if name not in index:
            return True
        members = (index[name].cfg or {}).get("task")
        inner = (
            [one for one in members if isinstance(one, str)] if isinstance(members, list) else []
        )
        if _missing(inner, manager):
            return True
    return False


def _folders_defining(names: set[str]) -> list[Path]:
    """The folders of lm-eval's tasks in which a file defines one of the names."""
    encoded = {name.encode() for name in names}
    folders = []
    for folder in sorted(path for path in _SHIPPED.iterdir() if path.is_dir()):
        for file in folder.rglob("*.yaml"):
            if not encoded.isdisjoint(_DEFINED.findall(file.read_bytes())):
                folders.append(folder)
                break
    return folders


def _make_own(manager: Any, folder: task_folder.TaskFolder) -> None:
    """Give the entries of the user's folder their data; functions only if they are trusted."""
    from lm_eval.tasks._yaml_loader import load_yaml

    index = manager.task_index
    for name, entry in list(index.items()):
        path = entry.yaml_path
        if path is None or not path.is_relative_to(folder.path):
            continue
        config = load_yaml(path, resolve_func=True) if folder.trusted else folder.configs[path]
        located = task_folder.with_data_of(config, path.parent, folder.path)
        # With its path, lm-eval 0.4.13 reads the file again, code and all (tasks/_factory.py).
        index[name] = replace(entry, cfg=located, yaml_path=None)


def _refuse_unsafe(name: str, task: Any) -> None:
    if getattr(task, "UNSAFE_CODE", False):
        raise DataError(
            f"task {name} runs code that the model writes, which qpipe does not: leave it out"
        )
    if getattr(task, "MULTIMODAL", False):
        raise DataError(f"task {name} wants images or sound, and only text is given: leave it out")


def _refuse_folders_here(names: Sequence[str], manager: Any) -> None:
    """Raise DataError for a data set of the hub whose name is also a folder here."""
    # datasets 5.2.0 takes a folder OWNER/NAME of the current one for the data set of that name
    # (datasets/load.py, dataset_module_factory).
    for name in names:
        entry = manager.task_index[name]
        for path in task_folder.data_sets(entry.cfg or {}):
            if path not in task_folder.READERS and is_folder(Path(path)):
                raise DataError(
                    f"task {name}: its data set {path} is also a folder here "
                    f"({Path(path).absolute()}), which would be read in its place and is no part "
                    "of the result's key: run qpipe in another folder, or put the data into a task "
                    "folder of your own (evaluate.include_path)"
                )
        _refuse_folders_here(_members(name, manager), manager)


def _members(name: str, manager: Any) -> list[str]:
    """The tasks and groups of the index that a group names, or that bear a tag."""
    entry = manager.task_index[name]
    if entry.cfg is None:
        return sorted(entry.tags)  # of a tag lm-eval 0.4.13 keeps its tasks there
    tasks = entry.cfg.get("task")
    members = [
        one.get("group") or one.get("task") if isinstance(one, Mapping) else one
        for one in (tasks if isinstance(tasks, list) else [])
    ]
    return [one for one in members if isinstance(one, str) and one in manager.task_index]


def _refuse_random(name: str, task: Any) -> None:
    """Models are compared item by item, which random texts would blur."""
    gen_kwargs = task.get_config("generation_kwargs") or {}
    if gen_kwargs.get("do_sample") or float(gen_kwargs.get("temperature") or 0.0) > 0:
        raise DataError(
            f"task {name} asks for random texts ({gen_kwargs}), and models are compared by greedy "
            "ones: set evaluate.gen_kwargs to {do_sample: false, temperature: 0.0}"
        )


def _set(task: Any, *, num_fewshot: int | None, gen_kwargs: Mapping[str, Any] | None) -> None:
    """Set a task up as lm-eval's `simple_evaluate` does: one that fixes 0 examples keeps them."""
    fixed = task.get_config("num_fewshot")
    if num_fewshot is not None and fixed != 0:
        task.set_config(key="num_fewshot", value=num_fewshot)
    elif fixed is None:
        task.set_config(key="num_fewshot", value=0)
    if gen_kwargs and task.get_config("output_type") == "generate_until":
        task.set_config(key="generation_kwargs", value=dict(gen_kwargs), update=True)
    # lm-eval 0.4.13 seeds examples in simple_evaluate alone, which is not what is called here.
    task.set_fewshot_seed(seed=_SEED)


def _reported(names: Sequence[str], manager: Any, tasks: Mapping[str, Any]) -> list[str]:
    """The names asked for; of a tag, or a group without a score of its own, what is in it."""
    reported: dict[str, None] = {}
    for name in names:
        if name in tasks["tasks"]:
            reported[name] = None
        elif name in tasks["groups"]:
            group = tasks["groups"][name]
            inner = [] if group.has_aggregation else group.child_names
            reported.update(dict.fromkeys(_reported(inner, manager, tasks) if inner else [name]))
        else:
            reported.update(dict.fromkeys(sorted(manager.task_index[name].tags)))
    return list(reported)


@contextmanager
def _our_errors(names: Sequence[str]) -> Iterator[None]:
    """Turn what a data set cannot be had for into a SourceError that says what to do."""
    shown = ", ".join(names)
    try:
        yield
    except (OSError, httpx.HTTPError, datasets.exceptions.DatasetsError) as error:
        why = str(error).strip().split("\n")[0]
        raise SourceError(
            f"task {shown}: its data set cannot be had ({why}). Check the network, HF_ENDPOINT and "
            "HF_HUB_OFFLINE; a data set that was loaded once needs no network; a local task with "
            "its data beside it never does (evaluate.include_path)"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError, TemplateError) as error:
        raise DataError(
            f"task {shown}: lm-eval cannot make it: {type(error).__name__}: {error}"
        ) from None
