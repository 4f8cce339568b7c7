"""Methods that are a scheme: a named combination of the formats of weights, activations and the KV
cache, in the words of compressed-tensors and vLLM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from qpipe.engines.common.method_params import MethodParams
from qpipe.stages.base import UnkeyedDefault

# compressed-tensors' names, and ours.
_NAMES = {
    "fp8": "static", "fp8_dynamic": "dynamic", "fp8_block": "block",
    "nvfp4": "w4a4", "nvfp4a16": "w4a16", "mxfp4": "w4a4", "mxfp4a16": "w4a16",
    "mxfp8": "w8a8", "mxfp8a16": "w8a16",
}  # fmt: skip


class SchemeParams(MethodParams):
    """Base of all: ``PRESETS`` are other tools' names of the schemes, ``MULTIPLE`` is the number of
    weights that each row must be a multiple of, by scheme; ``CALIBRATED`` schemes take ranges of
    activations from a text."""

    PRESETS: ClassVar[Mapping[str, str]]
    MULTIPLE: ClassVar[Mapping[str, int]]
    CALIBRATED: ClassVar[tuple[str, ...]] = ()

    scheme: str = Field(description="How weights and activations are stored.")
    kv_cache: Literal["fp8", "fp8_head"] | None = Field(
        None,
        description=(
            "fp8: keys and values as FP8, with a scale for each layer from the calibration text; "
            "fp8_head: with one for each head. null: as they come."
        ),
    )

    @property
    def preset(self) -> str:
        """The scheme's name in compressed-tensors."""
        return self.PRESETS[self.scheme]

    @property
    def is_calibrated(self) -> bool:
        """True if it takes ranges from a calibration text."""
        return self.scheme in self.CALIBRATED or self.kv_cache is not None

    @field_validator("scheme", mode="before")
    @classmethod
    def _known_as(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return _NAMES.get(value.lower().replace("-", "_"), value)


class LearnableParams(SchemeParams):
    """A scheme whose rounding can be learned; ``WRITES`` are the names that the schemes have in the
    tool that does, and none elsewhere."""

    WRITES: ClassVar[Mapping[str, str]] = {}

    iters: Annotated[int | None, UnkeyedDefault()] = Field(
        None,
        ge=0,
        description=(
            "auto-round: steps of learning for each layer, 32 or more to be of use; 0: round to "
            "the nearest. null: 200."
        ),
    )
    batch_size: Annotated[int | None, UnkeyedDefault()] = Field(
        None, ge=1, description="auto-round: samples of a step. null: 8."
    )
    seed: Annotated[int | None, UnkeyedDefault()] = Field(
        None, description="auto-round: chooses the samples of each step. null: 42."
    )

    @model_validator(mode="after")
    def _learns(self) -> LearnableParams:
        wishes = {"iters": self.iters, "batch_size": self.batch_size, "seed": self.seed}
        for name, value in wishes.items():
            if value is not None and not self.WRITES:
                raise ValueError(
                    f"quantize.{name}={value}: engine {self.engine} rounds to the nearest and "
                    "learns nothing; set quantize.engine=auto-round, or take it out"
                )
        return self


class Fp8Params(LearnableParams):
    """FP8 (E4M3; Micikevicius et al. 2022) of weights and activations."""

    PRESETS: ClassVar[Mapping[str, str]] = {
        "dynamic": "FP8_DYNAMIC",
        "block": "FP8_BLOCK",
        "static": "FP8",
    }
    MULTIPLE: ClassVar[Mapping[str, int]] = {"dynamic": 1, "block": 128, "static": 1}
    CALIBRATED = ("static",)

    method: Literal["fp8"] = "fp8"
    scheme: Literal["dynamic", "block", "static"] = Field(
        "dynamic",
        description=(
            "dynamic: a scale for each row of weights, and for each token as it comes; block: for "
            "128 × 128 weights, and 128 activations of a token; static: for each matrix, and its "
            "inputs, from the calibration text."
        ),
    )

    def bits_per_weight(self) -> float:
        """Bits per weight of a matrix, but for a scale a row or a matrix."""
        return 8 + 16 / 128**2 if self.scheme == "block" else 8


class Nvfp4Params(LearnableParams):
    """NVFP4 (NVIDIA 2025): E2M1, in groups of 16 with a scale in E4M3, and one for the matrix."""

    PRESETS: ClassVar[Mapping[str, str]] = {"w4a16": "NVFP4A16", "w4a4": "NVFP4"}
    MULTIPLE: ClassVar[Mapping[str, int]] = {"w4a16": 16, "w4a4": 16}
    CALIBRATED = ("w4a4",)

    method: Literal["nvfp4"] = "nvfp4"
    scheme: Literal["w4a16", "w4a4"] = Field(
        "w4a16",
        description=(
            "w4a16: weights alone; w4a4: activations too, with one scale for all inputs of a "
            "matrix from the calibration text, and one for 16 as they come."
        ),
    )

    def bits_per_weight(self) -> float:
        """Bits per weight of a matrix, with the scales of groups."""
        return 4 + 8 / 16


class Mxfp4Params(LearnableParams):
    """MXFP4 (OCP Microscaling Formats 1.0): E2M1, in groups of 32 with a power of two."""

    PRESETS: ClassVar[Mapping[str, str]] = {"w4a16": "MXFP4A16", "w4a4": "MXFP4"}
    MULTIPLE: ClassVar[Mapping[str, int]] = {"w4a16": 32, "w4a4": 32}

    method: Literal["mxfp4"] = "mxfp4"
    scheme: Literal["w4a16", "w4a4"] = Field(
        "w4a16", description="w4a16: weights alone; w4a4: activations too, rounded as they come."
    )

    def bits_per_weight(self) -> float:
        """Bits per weight of a matrix, with the scales of groups."""
        return 4 + 8 / 32


class Mxfp8Params(LearnableParams):
    """MXFP8 (OCP Microscaling Formats 1.0): E4M3, in groups of 32 with a power of two."""

    PRESETS: ClassVar[Mapping[str, str]] = {"w8a16": "MXFP8A16", "w8a8": "MXFP8"}
    MULTIPLE: ClassVar[Mapping[str, int]] = {"w8a16": 32, "w8a8": 32}

    method: Literal["mxfp8"] = "mxfp8"
    scheme: Literal["w8a16", "w8a8"] = Field(
        "w8a8", description="w8a16: weights alone; w8a8: activations too, rounded as they come."
    )

    def bits_per_weight(self) -> float:
        """Bits per weight of a matrix, with the scales of groups."""
        return 8 + 8 / 32


class W4afp8Params(SchemeParams):
    """Weights as whole numbers of four bits in groups of 128, activations as FP8."""

    PRESETS: ClassVar[Mapping[str, str]] = {"dynamic": "W4AFP8"}
    MULTIPLE: ClassVar[Mapping[str, int]] = {"dynamic": 128}

    method: Literal["w4afp8"] = "w4afp8"
    scheme: Literal["dynamic"] = Field(
        "dynamic", description="dynamic: a scale for each token, as it comes."
    )

    def bits_per_weight(self) -> float:
        """Bits per weight of a matrix, with the scales of groups."""
        return 4 + 16 / 128
