"""What a mix has to keep: bytes, bits per weight, memory at run time, or a KL divergence."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from qpipe.errors import UsageError
from qpipe.stages.base import Params
from qpipe.support.quantities import parse_size

# The fields of how a model is run, which say nothing without ``memory``.
_RUNNING = ("ctx", "batch", "kv", "runtime", "device")
_LATER = frozenset(("batch", "kv", "runtime", "device"))


def _bytes(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return parse_size(value, option="size")
    except UsageError as error:
        raise ValueError(str(error)) from None


Size = Annotated[int, BeforeValidator(_bytes), Field(gt=0)]
Runtime = Literal["llama.cpp", "vllm", "transformers", "exllama"]


class MixTarget(Params):
    """Bounds that a file has to keep, all of those that are given.

    Without ``kld`` the mix that loses least within the others is taken; with it the smallest that
    is within all. ``memory`` is what the model takes when it runs with ``ctx`` tokens.
    """

    size: Size | None = Field(None, description="Bytes of the whole file, at most: 3.5GB.")
    bpw: float | None = Field(None, gt=0, description="Bits per weight, of all tensors, at most.")
    kld: float | None = Field(
        None, gt=0, description="Mean KL divergence from the unquantized model, at most, in nats."
    )
    memory: Size | None = Field(
        None,
        description=(
            "Bytes at run time, at most, with `ctx` tokens: weights, cache, intermediate results, "
            "and what the runtime takes: 8GB, 24GiB."
        ),
    )
    ctx: int | None = Field(None, gt=0, description="Tokens of context, of memory.")
    batch: int | None = Field(None, gt=0, description="Sequences at once. null: one.")
    kv: str | None = Field(None, description="Type of the KV cache, as q8_0. null: half precision.")
    runtime: Runtime | None = Field(
        None, description="null: llama.cpp for GGUF, exllama for EXL2, else vllm."
    )
    device: Literal["cpu", "gpu"] | None = Field(
        None,
        description=(
            "Where it runs: cpu, or gpu, all layers on a card whose memory is meant. null: cpu with"
            " llama.cpp and transformers, else gpu."
        ),
    )

    @model_serializer(mode="wrap")
    def _in_keys(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave fields that came later out of keys at their defaults."""
        fields: dict[str, Any] = serialize(self)
        return {n: value for n, value in fields.items() if value is not None or n not in _LATER}

    @model_validator(mode="after")
    def _can_be_kept(self) -> Any:
        if all(value is None for value in (self.size, self.bpw, self.kld, self.memory)):
            idle = [name for name in _RUNNING if getattr(self, name) is not None]
            raise ValueError(
                "a target needs one of {size: 3.5GB}, {bpw: 4.25}, {kld: 0.01} and "
                "{memory: 8GB, ctx: 32768}" + (f"; {idle[0]} alone is none" if idle else "")
            )
        if self.memory is not None and self.ctx is None:
            raise ValueError(
                "memory hangs on the tokens of context: say them too, {memory: 8GB, ctx: 32768}"
            )
        for name in _RUNNING:
            if self.memory is None and getattr(self, name) is not None:
                raise ValueError(f"{name} is of memory, which is not given: {{memory: 8GB, …}}")
        if self.device == "cpu" and self.runtime in ("vllm", "exllama"):
            raise ValueError(f"device is cpu, and {self.runtime} computes on a GPU alone")
        return self

    @property
    def words(self) -> str:
        """It in a few words: size 3,500,000,000 bytes."""
        parts = [
            *([f"size {self.size:,} bytes"] if self.size is not None else []),
            *([f"{self.bpw:g} bits per weight"] if self.bpw is not None else []),
            *([f"memory {self.memory:,} bytes"] if self.memory is not None else []),
            *([f"kld {self.kld:g}"] if self.kld is not None else []),
        ]
        return " and ".join(parts)
