"""vLLM as a backend, in an environment of its own."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qpipe.core.graph import Resources
from qpipe.core.key import Json
from qpipe.evaluators.common import vllm_support
from qpipe.evaluators.common.backends import Opener, require_memory
from qpipe.evaluators.common.computing import checkpoint_memory
from qpipe.evaluators.common.vllm_environment import environment, fingerprint
from qpipe.stages.base import CHECKPOINT, Order
from qpipe.stages.device import CPU, computes_on

if TYPE_CHECKING:
    from qpipe.evaluators.text.interfaces import Backend


class Vllm(Opener):
    """vLLM, given token ids; its logits are taken where it computes them."""

    containers = (CHECKPOINT,)

    @staticmethod
    def fingerprint() -> Mapping[str, Json]:
        """The fingerprint of the environment for this machine."""
        return fingerprint(environment())

    @staticmethod
    def resources(*, cores: int) -> Resources:
        """Weights as loaded and once more while they are packed anew; vLLM takes the rest."""
        return Resources(
            cpus=max(1, cores // 2),
            memory=3 << 30,
            memory_per_input_byte=2.5,
            sized_by="model",
        )

    @staticmethod
    def check() -> str | None:
        """Return the problem, with the command that installs its environment, or None."""
        return environment().problem()

    @staticmethod
    def open(model: Path, params: Any, *, threads: int) -> AbstractContextManager[Backend]:
        """The checkpoint in the folder; the engine starts when the first window is asked for."""
        from qpipe.evaluators.common.vllm_backend import VllmBackend

        require_memory(checkpoint_memory(model), name="the checkpoint")
        return VllmBackend(model, environment(computes_on(params)), threads=threads)


def refuse(params: Any, order: Order) -> None:
    """Raise CheckpointError for a model in role ``model`` that vLLM does not load, as far as
    config.json says it."""
    folder = order.inputs.get("model")
    if folder is None and "model" in order.configs:
        folder = order.configs["model"].parent
    if folder is not None and (folder / "config.json").is_file():
        vllm_support.refuse(folder, on_cpu=computes_on(params) == CPU)
