"""The setting ``sha256`` of a source, for params models."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator

from qpipe.sources.sha256 import digests_named


def _checked(value: object) -> object:
    """The setting as it is. Raises ValueError for what is no digest, or no list of them."""
    digests_named([str(one) for one in value] if isinstance(value, (list, tuple)) else _text(value))
    return value


def _text(value: object) -> str | None:
    return None if value is None else str(value)


Sha256 = Annotated[str | list[str] | None, BeforeValidator(_checked)]
