"""How a model is run, as far as memory hangs on it."""

from __future__ import annotations

from dataclasses import dataclass

from qpipe.errors import RecipeError, nearest
from qpipe.gguf.types import GGMLType

RUNTIMES = ("llama.cpp", "vllm", "transformers", "exllama")

CACHE_TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "iq4_nl")
"""Types of llama.cpp's KV cache (common/arg.cpp, kv_cache_types)."""

# vLLM's ``--kv-cache-dtype`` and ExLlama's cache classes, by the type whose row takes as much; of
# 8 and 4 bits ExLlama keeps a scale of 16 bits for 32 values, as Q8_0 and Q4_0 do.
_OTHERS = {
    "vllm": {"auto": "f16", "f16": "f16", "bf16": "bf16", "fp8": "i8"},
    "transformers": {"f32": "f32", "f16": "f16", "bf16": "bf16"},
    "exllama": {"f16": "f16", "fp8": "i8", "q8": "q8_0", "q6": "q6_k", "q4": "q4_0"},
}


@dataclass(frozen=True)
class RunSetting:
    """A run of a model: ``context`` tokens for each of ``sequences`` at once.

    ``batch`` and ``ubatch`` are llama.cpp's logical and physical batch, in tokens; the other
    runtimes take ``batch`` tokens at most in a step. ``kv_k`` and ``kv_v`` are the types of the
    cache. With ``flash_attention`` None it is on, as every runtime here has it by itself.
    ``layers_offloaded`` is llama.cpp's ``--gpu-layers``: the last so many layers are on the GPU,
    one more than there are brings the output too; None and 0 leave all to the CPU, -1 takes all.
    With ``unified`` the sequences of llama.cpp share one buffer; ``swa_full`` gives its layers with
    a window a cache of the whole context; ``outputs`` are the tokens of a batch whose logits are
    kept, by default one of each sequence, as llama-server asks for.
    ``gpu_memory`` and ``gpu_share`` are the bytes of the GPU and the share of them that vLLM takes.

    Raises RecipeError for a runtime, type or number that is none.
    """

    runtime: str = "llama.cpp"
    context: int = 4096
    sequences: int = 1
    batch: int = 2048
    ubatch: int = 512
    kv_k: str = "f16"
    kv_v: str = "f16"
    flash_attention: bool | None = None
    layers_offloaded: int | None = None
    unified: bool = False
    swa_full: bool = False
    outputs: int | None = None
    gpu_memory: int | None = None
    gpu_share: float = 0.9

    def __post_init__(self) -> None:
        if self.runtime not in RUNTIMES:
            raise RecipeError(
                f"the runtime {self.runtime!r} is not known; {nearest(self.runtime, RUNTIMES)}"
            )
        for field in ("context", "sequences", "batch", "ubatch"):
            if getattr(self, field) < 1:
                raise RecipeError(f"{field} is {getattr(self, field)}, and must be 1 at least")
        for field in ("kv_k", "kv_v"):
            name = getattr(self, field)
            if name not in self.cache_types:
                raise RecipeError(
                    f"{self.runtime} has no cache of type {name!r} ({field}); "
                    f"{nearest(name, self.cache_types)}"
                )
        if self.runtime == "llama.cpp" and not self.flash and _is_quantized(self.type_v):
            raise RecipeError(
                f"the values of the cache are {self.kv_v} (kv_v), which llama.cpp computes with "
                "flash attention alone: leave that on, or take f16"
            )

    @property
    def cache_types(self) -> tuple[str, ...]:
        """The names that ``kv_k`` and ``kv_v`` can have with this runtime."""
        return CACHE_TYPES if self.runtime == "llama.cpp" else tuple(_OTHERS[self.runtime])

    @property
    def flash(self) -> bool:
        """True if attention is computed without keeping its scores."""
        return self.flash_attention is not False

    @property
    def type_k(self) -> GGMLType:
        """The type of keys in the cache, or one of as many bytes."""
        return self._type(self.kv_k)

    @property
    def type_v(self) -> GGMLType:
        """The type of values in the cache, or one of as many bytes."""
        return self._type(self.kv_v)

    def _type(self, name: str) -> GGMLType:
        same = _OTHERS.get(self.runtime, {})
        return GGMLType[same.get(name, name).upper()]

    @property
    def streams(self) -> int:
        """The number of caches that llama.cpp makes, each for one sequence or for all."""
        return 1 if self.unified and self.runtime == "llama.cpp" else self.sequences

    @property
    def cells(self) -> int:
        """Tokens that each stream of a cache has room for, a multiple of 256
        (src/llama-context.cpp, llama_context)."""
        tokens = self.context * self.sequences if self.unified else self.context
        return padded(tokens, 256)

    @property
    def n_ctx(self) -> int:
        """Tokens that all streams have room for."""
        return self.cells * self.streams

    @property
    def n_ubatch(self) -> int:
        """Tokens that are computed at once: no more than there is context for."""
        return min(self.ubatch, self.batch, self.context * self.sequences)

    @property
    def n_outputs(self) -> int:
        """Tokens of a batch whose logits are computed."""
        return min(self.n_ubatch, self.outputs or self.sequences)


def padded(size: int, unit: int) -> int:
    """``size`` rounded up to a multiple of ``unit``."""
    return -(-size // unit) * unit


def _is_quantized(kind: GGMLType) -> bool:
    return kind.block > 1
