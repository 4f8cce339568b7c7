"""A protocol as a parameter: its name, checked."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from qpipe.errors import UsageError
from qpipe.evaluators.protocols import protocol


def _known(name: str) -> str:
    try:
        return protocol(name).name
    except UsageError as error:
        raise ValueError(str(error)) from None


ProtocolName = Annotated[str, AfterValidator(_known)]
