"""Parameters that several evaluators have: llama.cpp's KV cache and attention, and a protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, TypedDict

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from qpipe.core.key import Json
from qpipe.errors import UsageError
from qpipe.evaluators.text.protocols import protocol
from qpipe.hf.kernels import PLAIN, Kernel
from qpipe.llamacpp.c_api import UNQUANTIZED_CACHE_TYPES
from qpipe.stages.base import UnkeyedDefault
from qpipe.stages.device import CPU, CUDA, Device, DeviceParams
from qpipe.stages.evaluator import EvaluatorParams

CacheType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]


def _switch(value: object) -> object:
    """Undo what YAML made of ``on`` and ``off``."""
    # PyYAML 6.0, as YAML 1.1 has it, reads them as true and false.
    return {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else value


class KvOptions(TypedDict):
    """Options in the form that `qpipe.llamacpp.context.LlamaContextOptions` takes."""

    type_k: str
    type_v: str
    flash_attention: Literal["auto", "on", "off"]


class OnCpuParams(EvaluatorParams, DeviceParams):
    """For evaluators by llama.cpp: the build that comes with qpipe computes on the CPU alone.

    Recipes name the settings of backend transformers too; without ``TORCH`` they stay as they are.
    """

    TORCH: ClassVar[bool] = False
    DEVICES: ClassVar[tuple[Device, ...]] = (CPU,)
    ALONE = (
        "the llama.cpp that measures GGUF files here is built for the CPU alone; leave "
        "evaluate.device at auto, or measure checkpoints (backend transformers)"
    )

    dtype: Annotated[Literal["auto", "float32", "bfloat16", "float16"], UnkeyedDefault()] = Field(
        "auto",
        description=(
            "The precision in which checkpoints are computed, the reference and all levels alike. "
            "auto: float32 where the format can be; a Δ between two precisions is marked."
        ),
    )
    kernel: Annotated[Kernel, UnkeyedDefault()] = Field(
        "auto",
        description=(
            "What multiplies the packed weights of GPTQ, AWQ and AutoRound. auto: torch, which "
            "computes in any precision; the others are for a GPU, in float16 or bfloat16."
        ),
    )

    @model_validator(mode="after")
    def _computed_by_torch(self) -> Any:
        if not self.TORCH and (self.dtype, self.kernel) != ("auto", "auto"):
            raise ValueError(
                "dtype and kernel are settings of backend transformers, and another measures here: "
                "leave them out"
            )
        if self.kernel not in ("auto", PLAIN) and self.dtype not in ("bfloat16", "float16"):
            raise ValueError(
                f"kernel={self.kernel} computes in float16 or bfloat16 alone: set evaluate.dtype "
                "to one of them, which the reference is then measured in too"
            )
        return self


class KvParams(OnCpuParams):
    """Settings of how llama.cpp keeps keys and values."""

    type_k: CacheType = Field("f16", description="What llama.cpp keeps keys in.")
    type_v: CacheType = Field(
        "f16", description="What llama.cpp keeps values in; quantized only with flash attention."
    )
    flash_attention: Annotated[Literal["auto", "on", "off"], BeforeValidator(_switch)] = Field(
        "auto", description="Whether llama.cpp uses it. auto: if it can."
    )

    @property
    def kv(self) -> KvOptions:
        """The three of them."""
        return {
            "type_k": self.type_k,
            "type_v": self.type_v,
            "flash_attention": self.flash_attention,
        }

    @property
    def kv_words(self) -> list[str]:
        """Departures from llama.cpp's usual, for a protocol's label: figures differ with them."""
        fields = type(self).model_fields
        return [
            f"{name}={value}" for name, value in self.kv.items() if value != fields[name].default
        ]

    @model_validator(mode="after")
    def _possible(self) -> Any:
        if self.flash_attention == "off" and self.type_v not in UNQUANTIZED_CACHE_TYPES:
            raise ValueError(
                f"type_v={self.type_v} with flash_attention=off: llama.cpp keeps values quantized "
                "only with flash attention; set flash_attention to auto or on, or type_v to f16"
            )
        return self


def departing(described: Mapping[str, Json], params: KvParams) -> dict[str, Json]:
    """A measurement's description, its protocol naming what is not llama.cpp's usual."""
    return {**described, "protocol": " ".join([str(described["protocol"]), *params.kv_words])}


class NoKvParams(KvParams):
    """For evaluators of another backend: recipes name the settings, and they stay as they are."""

    TORCH: ClassVar[bool] = True
    DEVICES: ClassVar[tuple[Device, ...]] = (CPU, CUDA)

    @model_validator(mode="after")
    def _left_alone(self) -> Any:
        if (self.type_k, self.type_v, self.flash_attention) != ("f16", "f16", "auto"):
            raise ValueError(
                "type_k, type_v and flash_attention are llama.cpp's, and backend "
                f"{self.model_dump()['backend']} measures here: leave them out"
            )
        return self


def _protocol_name(name: str) -> str:
    try:
        return protocol(name).name
    except UsageError as error:
        raise ValueError(str(error)) from None


ProtocolName = Annotated[str, AfterValidator(_protocol_name)]
