"""quantize: what every engine has in common; the engines are the files of qpipe/engines/."""

from __future__ import annotations

from typing import ClassVar

from qpipe.stages import base


class EngineParams(base.Params):
    """Base of the engines' parameters: subclasses give both fields their one value as default."""

    method: str
    engine: str


class Engine(base.Stage):
    """A tool that makes a smaller model of the one in role ``model``.

    ``run`` returns at least ``format``, ``size_bytes``, ``weights`` and ``bits_per_weight``.
    """

    kind: ClassVar[str] = "quantize"
    roles: ClassVar[tuple[str, ...]] = ("model",)
