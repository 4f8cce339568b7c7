"""Shapes of models that people quantize, by their names on the hub, from qpipe/data/shapes.json.

The file has the fields of config.json on which sizes hang, written down for this, and the number
of parameters that the model was published with, by which the tests check them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from qpipe.support import strict_json

_FILE = Path(__file__).parent.parent / "data" / "shapes.json"


def shapes(name: str) -> Mapping[str, Any] | None:
    """The fields of config.json that decide sizes, of the model called ``name`` on the hub (any
    case); None of one that is not known. A model has its base's where it has no other.
    """
    entry = entries().get(name.lower())
    return None if entry is None else entry["config"]


@cache
def entries() -> Mapping[str, Mapping[str, Any]]:
    """Entries with ``models, parameters, config``, by each name in small letters."""
    listed = strict_json.parse(_FILE.read_bytes())
    return {name.lower(): entry for entry in listed for name in entry["models"]}
