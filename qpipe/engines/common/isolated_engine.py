"""Engines whose pins clash with ours: each works in an environment of its own.

An engine names its `Environment` and says what its script needs; the rest is here: the lock's
digest in the key, refusing what is not installed before anything runs, and the call. Parameters are
validated and outputs checked on this side, by the code that all engines share.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from qpipe.core.key import Json
from qpipe.engines.common import ahead, unsupported
from qpipe.environments.environment import Environment
from qpipe.environments.shipped import ISOLATED
from qpipe.machine import gpus
from qpipe.stages import base
from qpipe.stages.device import Device
from qpipe.stages.engine import Engine

__all__ = ["ISOLATED", "IsolatedEngine"]


class IsolatedEngine(Engine):
    """``environment`` has the tool, whose distribution is ``tool``.

    One that works only on an NVIDIA GPU names in ``instead`` what would do the same without.
    """

    environment: ClassVar[Environment]
    tool: ClassVar[str]
    instead: ClassVar[str | None] = None
    foresees = True

    @classmethod
    def fingerprint(cls, params: Any) -> Mapping[str, Json]:
        """The tool and all it works with (`Environment.fingerprint`)."""
        return cls.environment.fingerprint(cls.tool)

    @classmethod
    def check(cls) -> str | None:
        """The problem (no GPU though it needs one, or its environment not installed), or None."""
        if cls.instead is not None and (why := gpus.problem()):
            return (
                f"{cls.tool} works only on an NVIDIA GPU, and {why}; {cls.instead}, "
                f"or run this where one is, after `{cls.environment.command}`"
            )
        return cls.environment.problem()

    @classmethod
    def refuse(cls, params: Any, order: base.Order) -> None:
        """Raises CheckpointError for a model that is quantized already."""
        if "model" in order.inputs:
            unsupported.refuse_any_quantized(order.inputs["model"])
        elif "model" in order.configs:
            unsupported.refuse_any_quantized(order.configs["model"].parent)

    @classmethod
    def preview(cls, params: Any, order: base.Order) -> base.Preview | None:
        """About the size of a model, from config.json."""
        return ahead.of_checkpoint(params, order) if cls.kind == Engine.kind else None

    @staticmethod
    def told(result: Mapping[str, Any]) -> dict[str, Any]:
        """Facts on how the script worked: versions of tools, and what it computed on."""
        from qpipe.environments.call import TOLD

        return {name: result[name] for name in TOLD if name in result}

    def call(
        self,
        params: Mapping[str, Json],
        work: base.Work,
        *,
        inputs: Mapping[str, Path],
        device: Device,
    ) -> dict[str, Any]:
        """Run the script with these parameters and folders on a device; what it found out.

        Raises EngineMissingError, OutOfMemoryError, WorkerCrashError, and what the script raises.
        """
        from qpipe.environments.call import Call, call

        return call(
            self.environment,
            Call(
                params,
                inputs,
                work.out,
                work.threads,
                work.progress,
                partial=work.partial,
                device=device,
                note=work.note,
                tools=(
                    self.tool,
                    *(n for n in _TELLING if n in self.environment.requirements_lock.names),
                ),
            ),
        )


# Besides the tool itself, what a result hangs on most.
_TELLING = ("torch", "transformers", "numpy")
