"""Perplexity and KL divergence of checkpoints by vLLM, in its own environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from qpipe.core.key import Json
from qpipe.evaluators.common import vllm_environment
from qpipe.evaluators.common.backends import LogitsEvaluator
from qpipe.evaluators.common.parameters import NoKvParams
from qpipe.evaluators.common.vllm import Vllm, refuse
from qpipe.evaluators.kld import Kld, KldParams
from qpipe.evaluators.logprobs import Logprobs, LogprobsParams
from qpipe.evaluators.perplexity import Perplexity, PerplexityParams
from qpipe.stages.base import Order, ParamsModel
from qpipe.stages.device import CPU, CUDA, computes_on


class _ByVllm(LogitsEvaluator):
    """Base of all, before the metric's own class."""

    @classmethod
    def fingerprint(cls, params: Any) -> Mapping[str, Json]:
        """Also of the environment that computes on the device."""
        own = vllm_environment.fingerprint(vllm_environment.environment(computes_on(params)))
        return {**super().fingerprint(params), **own}

    @classmethod
    def refuse(cls, params: Any, order: Order) -> None:
        """Raises CheckpointError for a model that vLLM does not load, as far as config.json says
        it."""
        refuse(params, order)


class VllmPerplexityParams(PerplexityParams, NoKvParams):
    """The same, by vLLM."""

    TORCH = False

    backend: Literal["vllm"] = "vllm"  # type: ignore[assignment]


class VllmPerplexity(_ByVllm, Perplexity):
    """Perplexity of a checkpoint by vLLM, as it serves it."""

    version = 1
    Params: ClassVar[ParamsModel] = VllmPerplexityParams
    backend = Vllm


class VllmLogprobsParams(LogprobsParams):
    """The same, by vLLM."""

    DEVICES = (CPU, CUDA)

    backend: Literal["vllm"] = "vllm"  # type: ignore[assignment]


class VllmLogprobs(_ByVllm, Logprobs):
    """A reference's distributions by vLLM."""

    version = 1
    Params: ClassVar[ParamsModel] = VllmLogprobsParams
    backend = Vllm


class VllmKldParams(KldParams, NoKvParams):
    """The same, by vLLM."""

    TORCH = False

    backend: Literal["vllm"] = "vllm"  # type: ignore[assignment]


class VllmKld(_ByVllm, Kld):
    """KL divergence of a checkpoint by vLLM, from a reference that it or another computed."""

    version = 1
    Params: ClassVar[ParamsModel] = VllmKldParams
    backend = Vllm
