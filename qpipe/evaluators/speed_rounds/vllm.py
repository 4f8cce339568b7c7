"""A checkpoint folder in vLLM's own process, measured by what it answers."""

from __future__ import annotations

from pathlib import Path

from qpipe.environments.environment import Environment
from qpipe.evaluators.common import vllm_support
from qpipe.evaluators.common.vllm_engine import VllmEngine
from qpipe.evaluators.speed_rounds.rounds import SpeedTarget
from qpipe.evaluators.speed_rounds.settings import Memory, Sample, SpeedSettings


class VllmTarget(SpeedTarget):
    """A model in vLLM, with room for all sequences at once.

    On a GPU it is compiled, with CUDA graphs, as `vllm serve` has it; on a CPU it is not, which
    would take a C++ compiler and minutes. Raises what opening the model raises.
    """

    def __init__(self, model: Path, settings: SpeedSettings, environment: Environment) -> None:
        vllm_support.refuse(model, on_cpu=not environment.cuda)
        self._settings = settings
        self._engine = VllmEngine(
            model,
            environment,
            threads=settings.threads,
            window=max(settings.n_prompt, settings.n_gen) + 1,
            sequences=settings.batch_size,
            eager=not environment.cuda,
            at_once=True,
        )
        self.version = f"vllm {self._engine.version}"
        self.arithmetic = self._engine.arithmetic

    def measure(self) -> Sample:
        """One round."""
        count, n_prompt, n_gen = (
            self._settings.batch_size,
            self._settings.n_prompt,
            self._settings.n_gen,
        )
        took = self._engine.time(n_prompt, n_gen)
        return Sample(
            pp=count * n_prompt / took["read"],
            tg=count * n_gen / took["wrote"],
            ttft=took["read"],
        )

    def finish(self) -> Memory:
        """The process's own peak, and torch's on the GPU."""
        return Memory(**self._engine.memory())

    def close(self) -> None:
        """End the process."""
        self._engine.close()
