"""The parameters of each method, in the words of its users, whatever tool does the work.

An engine's params model derives from its method's, fixes ``engine``, and says in ``RULES`` which
rules for single modules it can follow; what it cannot do it refuses here, before anything is
downloaded. Other tools' spellings (AutoGPTQ's, AutoAWQ's, transformers') are accepted and become
ours at once, so that both ways of writing a setting give one key.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from qpipe.engines.common.method_params import MethodParams, MixedParams
from qpipe.engines.common.module_rules import known_group
from qpipe.mix.target import MixTarget
from qpipe.stages.base import SourceFile, UnkeyedDefault

GroupSize = Annotated[int, AfterValidator(known_group)]


def _grouped(bits: int, group_size: int, *, zeros: bool) -> float:
    """Bits a weight with a 16-bit scale, and a zero point of ``bits``, for each group."""
    if group_size <= 0:
        return bits
    return bits + (16 + bits * zeros) / group_size


class GptqParams(MixedParams):
    """GPTQ (Frantar et al. 2023)."""

    SPELLINGS = (("wbits", "bits"), ("groupsize", "group_size"), ("act_order", "desc_act"))

    method: Literal["gptq"] = "gptq"
    bits: Literal[2, 3, 4, 8] = Field(4, description="Bits of a weight.")
    group_size: GroupSize = Field(
        128,
        description=(
            "Weights in a row that share a scale: 16 to 1024, a power of two; -1: the whole row."
        ),
    )
    desc_act: bool = Field(
        False,
        description=(
            "true: quantize columns in the order of falling activation. Better, and slower to run"
            " in some kernels."
        ),
    )
    sym: bool = Field(True, description="false: with zero points.")
    damp_percent: float = Field(
        0.05,
        gt=0,
        lt=1,
        description=(
            "Share of the Hessian's mean diagonal that is added to it. More is steadier where "
            "calibration is short."
        ),
    )
    static_groups: bool = Field(
        False, description="true: fix the scales before columns are reordered."
    )
    true_sequential: bool = Field(
        True,
        description=(
            "Modules of a layer see what those before them became. null: as the engine does it by"
            " itself."
        ),
    )
    lm_head: bool = Field(False, description="true: quantize the output matrix too.")

    def bits_per_weight(self) -> float:
        """Bits per weight of a matrix, with what is stored for each group, or of a target."""
        return self._mixed() or _grouped(self.bits, self.group_size, zeros=True)


class AwqParams(MethodParams):
    """AWQ (Lin et al. 2023): salient channels are scaled up before weights are rounded."""

    SPELLINGS = (("w_bit", "bits"), ("q_group_size", "group_size"))
    SKIP_LISTS = ("modules_to_not_convert",)

    method: Literal["awq"] = "awq"
    bits: Literal[4, 8] = Field(4, description="Bits of a weight.")
    group_size: GroupSize = Field(
        128,
        description=(
            "Weights in a row that share a scale: 16 to 1024, a power of two; -1: the whole row."
        ),
    )
    zero_point: bool = Field(True, description="false: symmetric, without zero points.")
    version: Literal["GEMM", "GEMV"] = Field(
        "GEMM",
        description=(
            "How AutoAWQ packs weights. GEMV is for one request at a time, and autoawq alone "
            "writes it."
        ),
    )

    def bits_per_weight(self) -> float:
        """Bits per weight of a matrix, with what is stored for each group."""
        return _grouped(self.bits, self.group_size, zeros=self.zero_point)

    @field_validator("version", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value


_SCHEMES = {"weight-only": "w8a16", "weight_only": "w8a16", "dynamic": "w8a8"}


class Int8Params(MethodParams):
    """Eight bits, of weights alone or of activations too."""

    method: Literal["int8"] = "int8"
    scheme: Literal["w8a16", "w8a8"] = Field(
        "w8a16", description="w8a16: weights alone; w8a8: activations too, rounded as they come."
    )
    smoothing_strength: Annotated[float | None, UnkeyedDefault()] = Field(
        None,
        ge=0,
        le=1,
        description=(
            "SmoothQuant (Xiao et al. 2023) before GPTQ, for w8a8 by llmcompressor: how much of "
            "the activations' range the weights take over, 0.5 to 0.8 as a rule. null: none."
        ),
    )

    def bits_per_weight(self) -> float:
        """Bits per weight of a matrix."""
        return 8

    @model_validator(mode="after")
    def _smooths_activations(self) -> Int8Params:
        strength = self.smoothing_strength
        if strength is not None and (self.scheme, self.engine) != ("w8a8", "llmcompressor"):
            raise ValueError(
                f"quantize.smoothing_strength={strength}: SmoothQuant is for activations that are "
                "rounded, and llmcompressor does it; set quantize.scheme=w8a8 and "
                "quantize.engine=llmcompressor, or take it out"
            )
        return self

    @field_validator("scheme", mode="before")
    @classmethod
    def _known_as(cls, value: object) -> object:
        return _SCHEMES.get(value.lower(), value.lower()) if isinstance(value, str) else value


class BnbParams(MethodParams):
    """bitsandbytes: QLoRA's types (Dettmers et al. 2023), or LLM.int8() (Dettmers et al. 2022)."""

    SPELLINGS = (
        ("bnb_4bit_quant_type", "type"),
        ("bnb_4bit_use_double_quant", "double_quant"),
        ("bnb_4bit_compute_dtype", "compute_dtype"),
        ("llm_int8_threshold", "threshold"),
    )
    SKIP_LISTS = ("llm_int8_skip_modules",)

    method: Literal["bnb"] = "bnb"
    type: Literal["nf4", "fp4", "int8"] = Field(
        "nf4", description="nf4 or fp4: 4 bits in blocks of 64; int8: LLM.int8()."
    )
    double_quant: bool = Field(
        False, description="true: quantize the scales of blocks too (nf4, fp4)."
    )
    compute_dtype: Literal["float32", "float16", "bfloat16"] = Field(
        "bfloat16", description="What the model will be multiplied in (nf4, fp4)."
    )
    threshold: float = Field(
        6.0,
        ge=0,
        description="Columns with an activation above it are computed in half precision (int8).",
    )

    def bits_per_weight(self) -> float:
        """Bits per weight of a matrix; a block of 64 has a 32-bit scale, or one of 8 bits, of which
        256 share another."""
        if self.type == "int8":
            return 8
        return 4 + (8 + 32 / 256 if self.double_quant else 32) / 64


class RtnParams(MixedParams):
    """Rounding to the nearest: no data, no search; what every other method has to beat."""

    SPELLINGS = (("wbits", "bits"), ("groupsize", "group_size"))

    method: Literal["rtn"] = "rtn"
    bits: Literal[2, 3, 4, 8] = Field(4, description="Bits of a weight.")
    group_size: GroupSize = Field(
        128,
        description=(
            "Weights in a row that share a scale: 16 to 1024, a power of two; -1: the whole row."
        ),
    )
    sym: bool = Field(True, description="false: with zero points.")

    def bits_per_weight(self) -> float:
        """Bits per weight of a matrix, with what is stored for each group."""
        return self._mixed() or _grouped(self.bits, self.group_size, zeros=not self.sym)


class AutoRoundMethodParams(MixedParams):
    """AutoRound (Cheng et al. 2023): rounding and clipping learned by SignSGD."""

    method: Literal["autoround"] = "autoround"
    bits: Literal[2, 3, 4, 8] = Field(
        4, description="Bits of a weight. Of a GGUF file the format says it."
    )
    group_size: GroupSize = Field(
        128,
        description=(
            "Weights in a row that share a scale: 16 to 1024, a power of two; -1: the whole row."
        ),
    )
    sym: bool = Field(True, description="false: with zero points.")
    iters: int = Field(
        200,
        ge=0,
        description=(
            "Steps of learning for each layer, 32 or more to be of use; 0: round to the nearest."
        ),
    )
    batch_size: int = Field(8, ge=1, description="Samples of a step.")
    seed: int = Field(42, description="Chooses the samples of each step.")
    format: Annotated[
        str, Field(pattern=r"^(auto_gptq|auto_awq|auto_round|llm_compressor|gguf:q\d\w*)$")
    ] = Field(
        "auto_gptq",
        description=(
            "What is written: auto_gptq, auto_awq, auto_round, llm_compressor, or a GGUF file as "
            "gguf:q4_k_m."
        ),
    )

    @property
    def gguf(self) -> bool:
        """True if a GGUF file comes out."""
        return self.format.startswith("gguf:")

    def bits_per_weight(self) -> float | None:
        """Bits per weight of a matrix, with what is stored for each group; None for a GGUF file,
        whose name says it."""
        if self.gguf:
            return None
        return self._mixed() or _grouped(self.bits, self.group_size, zeros=True)


class Exl2Params(MethodParams):
    """EXL2 (exllamav2): bits are dealt out to modules by a measurement."""

    SPELLINGS = (("bpw", "bits"),)

    method: Literal["exl2"] = "exl2"
    bits: float = Field(4.0, ge=2, le=8, description="Bits of a weight, on average over all.")
    target: Annotated[MixTarget | None, UnkeyedDefault()] = Field(
        None,
        description=(
            "What the files have to keep: {size: 3.5GB}, {bpw: 4.25} of all tensors, or {memory: "
            "8GB, ctx: 32768}, or several of them; bits are the most that keep it, which the "
            "measurement deals out. null: as `bits` says."
        ),
    )
    head_bits: Literal[2, 3, 4, 6, 8] = Field(6, description="Bits of the output matrix.")
    measurement: SourceFile | None = Field(
        None,
        description=(
            "A measurement.json that was made before; then also remove the stage's input with "
            "~stages.quantize.needs.measurement. null: measure first."
        ),
    )

    def bits_per_weight(self) -> float:
        """On average."""
        return self.bits if self.target is None else self.target.bpw or self.bits

    @model_validator(mode="after")
    def _one_says_the_bits(self) -> Exl2Params:
        if self.target is not None and self.target.kld is not None:
            raise ValueError(
                "quantize.target: exllamav2's measurement tells no KL divergence of the whole: "
                "give size, bpw or memory, and measure with evaluate=kld"
            )
        if self.target is not None and self.bits != type(self).model_fields["bits"].default:
            raise ValueError(
                f"quantize.bits is {self.bits:g}, and target says them: leave bits out"
            )
        return self

    @field_validator("bits", mode="before")
    @classmethod
    def _real(cls, value: object) -> object:
        """4 and 4.0 are one setting."""
        return float(value) if type(value) is int else value
