"""The lock file beside a recipe: which commit each hub revision stood for when it was locked, and
which SHA-256 each file at an address had."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

from qpipe.core import file_lock
from qpipe.errors import RecipeError, quoted
from qpipe.recipe.request import find_recipe, shipped_recipes
from qpipe.support import strict_json

_PIN = "[0-9a-f]{40}|sha256:[0-9a-f]{64}"
_ANEW = "remove it and run `qpipe lock` again"


def recipe_folder(recipe: str) -> Path:
    """The folder from which a recipe's relative paths are looked for, after the current one."""
    return find_recipe(recipe).parent


def path_of(recipe: str) -> Path:
    """The path of a recipe's lock: beside it, or in the current folder for a shipped recipe."""
    file = find_recipe(recipe)
    shipped = file.is_relative_to(shipped_recipes())
    folder = Path.cwd() if shipped else file.parent
    return folder / f"{file.stem}.lock.json"


def read(recipe: str) -> Mapping[str, str]:
    """The pins of a lock file by source label, commits and ``sha256:…``; empty without a lock
    file. Raises RecipeError."""
    path = path_of(recipe)
    if not os.path.lexists(path):
        return {}
    try:
        record = strict_json.load(path, RecipeError)
        sources = record.get("sources") if isinstance(record, dict) else None
    except RecipeError as error:
        raise RecipeError(f"{error}; {_ANEW}") from None
    if not isinstance(sources, dict):
        raise RecipeError(f"{path}: this is no lock file that qpipe wrote; {_ANEW}")
    for label, commit in sources.items():
        if not (isinstance(commit, str) and re.fullmatch(_PIN, commit)):
            raise RecipeError(
                f"{path}: sources[{quoted(label)}] is {quoted(commit)}, no commit and no SHA-256; "
                f"{_ANEW}"
            )
    return sources


def write(recipe: str, sources: Mapping[str, str]) -> Path:
    """Write the lock file of a recipe, keeping what it held of other sources."""
    path = path_of(recipe)
    anew = {_whole(label) for label in sources}
    kept = {label: pin for label, pin in read(recipe).items() if _whole(label) not in anew}
    merged = dict(sorted({**kept, **sources}.items()))
    file_lock.write_atomic(path, encoded(merged).encode())
    return path


def _whole(label: str) -> str:
    """The source that a line is of: a folder at an address has a line for each file."""
    return label.partition("#")[0]


def encoded(sources: Mapping[str, str]) -> str:
    """The text of a lock file with these commits."""
    return json.dumps({"qpipe": 1, "sources": {**sources}}, indent=1) + "\n"
