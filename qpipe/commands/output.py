"""Answers on stdout."""

from __future__ import annotations

import json
from typing import Any


def print_json(document: Any) -> None:
    """Print the one JSON document of an answer."""
    print(json.dumps(document, indent=1, allow_nan=False))
