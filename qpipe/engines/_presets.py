"""Names of schemes that installed packages know, read from their source: importing them takes ten
seconds, and a plan none."""

from __future__ import annotations

import ast
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from qpipe.errors import EngineMissingError
from qpipe.stages import base
from qpipe.support import extras

_TABLE = "PRESET_SCHEMES"


def require(preset: str, package: str, file: str, *, extra: str) -> None:
    """Raise EngineMissingError unless the installed ``package`` names the scheme ``preset`` in
    ``PRESET_SCHEMES`` of its ``file``; nothing where it is not installed, which is said elsewhere.
    """
    try:
        path = Path(str(distribution(package).locate_file(file)))
    except PackageNotFoundError:
        return
    known = names(path)
    if preset not in known:
        raise EngineMissingError(
            f"quantize.scheme: {package} {base.installed(package)} has no scheme {preset}, only "
            f"{', '.join(sorted(known)) or 'none'}: {extras.command(extra)}"
        )


@cache
def names(path: Path) -> frozenset[str]:
    """The keys that a Python file writes out in its table of schemes; none of a file that is not
    there."""
    if not path.is_file():
        return frozenset()
    for statement in ast.parse(path.read_text()).body:
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        targets += [statement.target] if isinstance(statement, ast.AnnAssign) else []
        named = any(isinstance(target, ast.Name) and target.id == _TABLE for target in targets)
        value = getattr(statement, "value", None)
        if named and isinstance(value, ast.Dict):
            keys = (key.value for key in value.keys if isinstance(key, ast.Constant))
            return frozenset(key for key in keys if isinstance(key, str))
    return frozenset()
