"""Answers on stdout."""

from __future__ import annotations

import json


def print_json(document: object) -> None:
    """Print the one JSON document of an answer."""
    print(json.dumps(document, indent=1, allow_nan=False))
