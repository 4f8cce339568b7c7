"""A folder with all that it takes to repeat and cite a reproduction.

Nothing in it tells of this machine's folders or of values of environment variables.
"""

from __future__ import annotations

import importlib.metadata
import json
import shlex
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from qpipe import __version__
from qpipe.errors import StoreError, UsageError, placed
from qpipe.published import render
from qpipe.published.citation import citation
from qpipe.published.reproduction import Reproduction
from qpipe.published.schema import PublishedValue
from qpipe.recipe import lock_file
from qpipe.recipe.request import Job
from qpipe.session.reproducing.question import Question
from qpipe.session.reproducing.table_job import TableJob, job_of
from qpipe.support.files import exists

_README = """\
# {title}
Published values beside our own, each with a verdict, of {date}: {summary}.

    {command}

repeats it in this folder with qpipe {version} (`versions.txt` has what else was installed).

| | |
|---|---|
| `tables/` | the published tables |
| `results.md`, `.html`, `.csv`, `.json` | the values, ours, tolerances and verdicts |
| `recipes/` | the recipe of each measurement as it was composed, which `qpipe run` takes |
| `lock.json` | the commit of each repository, and the digest of each local model and text |
| `NAME.lock.json` | commits for a recipe, as qpipe reads them |
| `versions.txt`, `machine.json` | what computed, and on what |
| `CITATION.cff` | how to cite this; the sources are named in it |
{missing}"""

_MISSING = """
Not in here are files that the tables name by their path: {names}. Put each where its table looks
for it, seen from `tables/`.
"""


def refuse(folder: Path) -> None:
    """Raise UsageError for a folder that a bundle cannot go to: one that holds anything."""
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.is_dir() or folder.exists() or folder.is_symlink():
        what = "is not empty" if folder.is_dir() else "is no folder"
        raise UsageError(f"--bundle {folder}: it {what}; name one that is not there yet")


def write(folder: Path, reproduction: Reproduction, question: Question, store: Path) -> None:
    """Write the bundle. Raises UsageError as `refuse` does, StoreError where it cannot be
    written."""
    refuse(folder)
    try:
        for name, text in _files(reproduction, question, store):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        for file in reproduction.tables:
            (folder / "tables").mkdir(exist_ok=True)
            shutil.copyfile(file.path, folder / "tables" / f"{file.name}.yaml")
    except OSError as error:
        raise StoreError(
            f"{error.filename or folder}: the bundle cannot be written there ({error.strerror})"
        ) from None


def _files(
    reproduction: Reproduction, question: Question, store: Path
) -> Iterable[tuple[str, str]]:
    command = _command(question)
    about = {**reproduction.about, "command": command}
    cited = Reproduction(**{**vars(reproduction), "about": about})
    places = _places(question, store)
    for form in render.FORMS:
        yield f"results.{form}", placed(render.render(cited, form), places)
    yield from _recipes(reproduction)
    yield from _locks(reproduction)
    yield "README.md", _readme(cited, command)
    yield "CITATION.cff", citation(cited)
    yield "machine.json", json.dumps(about["machine"], indent=1) + "\n"
    yield "lock.json", json.dumps(about.get("sources", {}), indent=1) + "\n"
    yield "versions.txt", _versions(about.get("tools", {}))


def _command(question: Question) -> str:
    """The command that repeats it in the bundle."""
    tables = [shlex.quote(f"tables/{file.name}.yaml") for file in question.files]
    return " ".join(["qpipe", "repro", *tables, *question.options])


def _places(question: Question, store: Path) -> dict[str, str]:
    """Folders of this machine, the longest first, and what stands for each."""
    places = {str(store.absolute()): "STORE", str(Path.cwd()): "."}
    places |= {str(file.path.parent.absolute()): "tables" for file in question.files}
    places |= {str(Path.home()): "~"}
    return {each: places[each] for each in sorted(places, key=len, reverse=True) if each != "/"}


def _readme(reproduction: Reproduction, command: str) -> str:
    from qpipe.published.cells import summary

    files = reproduction.tables
    title = files[0].table.title if len(files) == 1 else f"{len(files)} published tables"
    local = {
        name: None
        for row in reproduction.rows
        for name in _named(row.published.value)
        if name and exists(row.published.file.path.parent / name)
    }
    return _README.format(
        title=f"{title}, reproduced",
        date=reproduction.about["date"],
        summary=summary(reproduction),
        command=command,
        version=__version__,
        missing=_MISSING.format(names=", ".join(local)) if local else "",
    )


def _named(value: PublishedValue) -> Iterable[str | None]:
    """The possible paths in a value's row: its model, config.json, and what overrides set."""
    yield from (value.row.model, value.row.config)
    for override in value.overrides:
        name = override.partition("=")[2].strip("'\"")
        yield name if any(each in name for each in "/.") else None


def _versions(tools: Mapping[str, Iterable[str]]) -> str:
    """List what is installed, as pip does, and the versions of what shaped a byte."""
    installed = {
        f"{each.metadata['Name']}=={each.version}"
        for each in importlib.metadata.distributions()
        if each.metadata["Name"]
    }
    lines = [f"# {name} {', '.join(versions)}" for name, versions in tools.items()]
    head = ["# What shaped a byte of the results:", *lines] if lines else []
    return "\n".join([*head, *sorted(installed, key=str.lower)]) + "\n"


def _recipes(reproduction: Reproduction) -> Iterable[tuple[str, str]]:
    """The recipe of each job, composed, and the rows that it is of."""
    rows: dict[TableJob, list[str]] = {}
    for row in reproduction.rows:
        job = job_of(row.published) if row.recipe else None
        if job is not None:
            value = row.published.value
            rows.setdefault(job, []).append(
                f"{row.published.file.name} {value.number}: {value.row.format} {value.name}"
            )
    if not rows:
        return
    from qpipe.recipe import load

    by_recipe: dict[str, list[TableJob]] = {}
    for job in rows:
        by_recipe.setdefault(job.recipe, []).append(job)
    number = 0
    for recipe, jobs in by_recipe.items():
        composed = load.compose_each(recipe, [job.overrides for job in jobs])
        for job, one in zip(jobs, composed, strict=True):
            if isinstance(one, Job):
                number += 1
                lines = [f"# {each}" for each in rows[job]]
                name = f"recipes/{number:03d}"
                yield f"{name}.yaml", "\n".join([*lines, _composed(one)])
                if lock := reproduction.locks.get(recipe):
                    yield f"{name}.lock.json", lock_file.encoded(lock)


def _locks(reproduction: Reproduction) -> Iterable[tuple[str, str]]:
    """The lock of each recipe, where the command that repeats it looks for one; and with it
    recipes that stand beside their table."""
    for row in reproduction.rows:
        job, recipe = job_of(row.published), row.recipe
        if job is None or recipe is None:
            continue
        lock = reproduction.locks.get(job.recipe)
        own = recipe.endswith((".yaml", ".yml"))
        place = PurePosixPath("tables", recipe) if own else PurePosixPath(f"{recipe}.yaml")
        if own and not {"..", "/"} & {*place.parts}:
            yield str(place), Path(job.recipe).read_text(encoding="utf-8")
        if lock and not {"..", "/"} & {*place.parts}:
            yield str(place.with_suffix(".lock.json")), lock_file.encoded(lock)


def _composed(job: Job) -> str:
    """A composed recipe, in which a variable's value is its name again."""
    variables = {
        value: "${oc.env:" + sorted(names)[0] + "}"
        for path, names in job.environment.items()
        if isinstance(value := _at(job.config, path), str) and value
    }
    text: str = yaml.safe_dump(_unfilled(job.config, variables), sort_keys=False, width=100)
    return text


def _at(config: Any, path: str) -> Any:
    for part in path.split("."):
        if isinstance(config, Mapping):
            config = config.get(part)
        elif isinstance(config, (list, tuple)) and part.isdecimal() and int(part) < len(config):
            config = config[int(part)]
        else:
            return None
    return config


def _unfilled(config: Any, variables: Mapping[str, str]) -> Any:
    """A configuration without the values of variables, wherever they got to."""
    if isinstance(config, str):
        for value, name in variables.items():
            config = config.replace(value, name)
        return config
    if isinstance(config, Mapping):
        return {name: _unfilled(value, variables) for name, value in config.items()}
    if isinstance(config, (list, tuple)):
        return [_unfilled(value, variables) for value in config]
    return config
