"""The geometry of a model as its GGUF metadata gives it to llama.cpp.

Source: llama.cpp 0.6.0-dev, src/llama-hparams.cpp (n_embd_r, n_embd_s, is_swa, has_kv),
src/llama-model.cpp (load_hparams, create_memory) and load_arch_hparams in src/models/.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from qpipe.errors import CheckpointError
from qpipe.gguf import values
from qpipe.memory.geometry import Geometry, Kind, LayerGeometry
from qpipe.memory.hyperparameters import MetadataNumbers
from qpipe.memory.patterns import PATTERNS

# llm_arch_is_recurrent, llm_arch_is_hybrid (src/llama-arch.cpp).
_RECURRENT = ("mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7")
_BY_HEADS = (
    *("jamba", "plamo2", "granitehybrid", "lfm2", "lfm2moe", "nemotron_h", "nemotron_h_moe"),
    *("kimi-linear", "bailingmoe3"),
)
_BY_INTERVAL = {"qwen3next": 4, "qwen35": 4, "qwen35moe": 4, "minimax-01": 8}
# What llama.cpp keeps of these in ways that are not written down here.
_UNKNOWN = ("deepseek4", "dots3note", "minimax-m3", "qwen4exp", "hy_v4", "glm5-next", "kimi-k3")
_NO_CACHE = ("bert", "modern-bert", "nomic-bert", "nomic-bert-moe", "neo-bert", "eurobert")
_INDEXED = ("deepseek32", "glm-dsa")
_SIZES = (
    *("embedding_length", "feed_forward_length", "expert_feed_forward_length", "expert_count"),
    *("expert_used_count", "expert_shared_feed_forward_length", "attention.head_count"),
    *("attention.head_count_kv", "attention.key_length", "attention.value_length"),
    *("attention.key_length_mla", "attention.value_length_mla", "attention.kv_lora_rank"),
    *("attention.q_lora_rank", "ssm.inner_size", "ssm.state_size", "ssm.group_count"),
    *("ssm.conv_kernel", "ssm.time_step_rank", "shortconv.l_cache", "context_length"),
    *("embedding_length_per_layer_input", "altup.num_inputs", "expert_shared_count"),
    *("leading_dense_block_count", "interleave_moe_layer_step", "attention.key_length_swa"),
    *("attention.value_length_swa", "rope.scaling.finetuned", "ssm.dt_b_c_rms"),
    *("attention.decay_lora_rank", "attention.iclr_lora_rank", "attention.gate_lora_rank"),
    *("attention.value_residual_mix_lora_rank", "time_mix_extra_dim", "time_decay_extra_dim"),
)


def read(metadata: values.Metadata, vocabulary: int) -> Geometry:
    """The geometry of a GGUF model with so many tokens. Raises CheckpointError for metadata that
    lacks a number, or an architecture whose memory is not known."""
    numbers = MetadataNumbers(metadata)
    arch = numbers.arch
    if arch in _UNKNOWN:
        raise CheckpointError(
            f"the architecture {arch!r} keeps more than keys and values, in ways that are not "
            "known here: run it once, llama.cpp's log says what it takes"
        )
    depth = numbers.number("block_count") - numbers.number("nextn_predict_layers", 0)
    layers = tuple(_Layers(numbers, depth).all())
    sizes = {key: numbers.number(key) for key in _SIZES if key in numbers}
    sizes |= _head_sizes(numbers)
    return Geometry(arch, layers, vocabulary, numbers.number("embedding_length"), sizes)


def _head_sizes(numbers: MetadataNumbers) -> dict[str, int]:
    heads = numbers.number("attention.head_count", 0)
    whole = numbers.number("embedding_length") // heads if heads else 0
    return {
        key: numbers.number(key, whole)
        for key in ("attention.key_length", "attention.value_length")
    }


class _Layers:
    """The layers of a model that has ``depth`` of them."""

    def __init__(self, numbers: MetadataNumbers, depth: int) -> None:
        self.numbers, self.depth = numbers, depth
        self.heads = numbers.each("attention.head_count", depth, 0)
        first = self.heads[0] if self.heads else 0
        fallback = None if "attention.head_count_kv" in numbers else first
        self.kv_heads = numbers.each("attention.head_count_kv", depth, fallback)
        self.slides, self.window = self._windows()
        self.latent = numbers.number("attention.key_length_mla", 0) > 0
        sizes = _head_sizes(numbers)
        self.key, self.value = (sizes[f"attention.{part}_length"] for part in ("key", "value"))
        self.kept = self._first_shared()

    def all(self) -> Sequence[LayerGeometry]:
        """Each layer, from the first."""
        arch = self.numbers.arch
        if arch in _NO_CACHE:
            return [LayerGeometry("none")] * self.depth
        both = arch == "falcon-h1"
        recurrent = self._recurrent()
        return [
            self._both(i) if both else self._state() if recurrent[i] else self._attention(i)
            for i in range(self.depth)
        ]

    def _recurrent(self) -> list[bool]:
        """True of each layer that keeps a state in place of keys and values."""
        arch, numbers = self.numbers.arch, self.numbers
        if arch in _RECURRENT:
            return [True] * self.depth
        if arch in _BY_HEADS:
            dense = [0] * self.depth
            if arch.startswith("nemotron"):  # feed-forward layers have no heads either
                dense = numbers.each("feed_forward_length", self.depth, 0)
            return [not kv and not ffn for kv, ffn in zip(self.kv_heads, dense, strict=True)]
        if arch in _BY_INTERVAL:
            if "attention.recurrent_layers" in numbers:
                return [bool(x) for x in numbers.each("attention.recurrent_layers", self.depth)]
            interval = numbers.number("full_attention_interval", _BY_INTERVAL[arch])
            return [(i + 1) % interval != 0 for i in range(self.depth)]
        return [False] * self.depth

    def _attention(self, index: int) -> LayerGeometry:
        kv, slides = self.kv_heads[index], self.slides[index]
        if not kv:
            return LayerGeometry("none")
        if self.kept is not None and index >= self.kept:
            return LayerGeometry(self._kind(slides), shared=self.kept - (2 if slides else 1))
        key, value = self.key, self.value
        if slides:
            key = self.numbers.number("attention.key_length_swa", key)
            value = self.numbers.number("attention.value_length_swa", value)
        return LayerGeometry(
            self._kind(slides),
            keys=kv * key,
            values=0 if self.latent else kv * value,
            window=self.window if slides else 0,
            indexer=self._indexer(index),
        )

    def _kind(self, slides: bool) -> Kind:
        if slides:
            pattern = PATTERNS[self.numbers.arch]
            return "chunked attention" if pattern.chunked else "sliding window"
        return "latent attention" if self.latent else "full attention"

    def _indexer(self, index: int) -> int:
        arch, numbers = self.numbers.arch, self.numbers
        if arch not in _INDEXED:
            return 0
        full = numbers.each("attention.indexer.types", self.depth, 1)[index]
        return numbers.number("attention.indexer.key_length", 0) if full else 0

    def _windows(self) -> tuple[list[bool], int]:
        """(whether it has a window, for each layer; the tokens of a window)."""
        numbers, depth = self.numbers, self.depth
        pattern, key = PATTERNS.get(numbers.arch), "attention.sliding_window"
        window = numbers.number(key, pattern.window if pattern else 0)
        if pattern is None or (pattern.layers and pattern.layers != depth):
            return [False] * depth, 0
        if pattern.fixed and (window or (pattern.chunked and key not in numbers)):
            window = pattern.fixed
        if not window:
            return [False] * depth, 0
        listed = f"{key}_pattern"
        if listed in numbers and len(slides := numbers.each(listed, depth)) > 1:
            if len(set(slides)) > 1 or max(slides) == 1:
                return [bool(slide) for slide in slides], window
            pattern = replace(pattern, period=slides[0])
        return [pattern.slides(i) for i in range(depth)], window

    def _first_shared(self) -> int | None:
        """The first layer that reads keys and values of another."""
        if self.numbers.arch == "gemma3n":
            return 20
        if self.numbers.arch == "gemma4":
            return self.depth - self.numbers.number("attention.shared_kv_layers", 0)
        return None

    def _state(self) -> LayerGeometry:
        numbers = self.numbers
        hidden, heads = numbers.number("embedding_length"), self.heads[0] if self.heads else 0
        if head := numbers.number("wkv.head_size", 0):
            shifts = numbers.number("token_shift_count", 2)
            kept = hidden * head
            return LayerGeometry("linear attention", rolling=shifts * hidden, recurrent=kept)
        kernel = numbers.number("ssm.conv_kernel", 0)
        if taps := numbers.number("shortconv.l_cache", 0):
            return LayerGeometry("short convolution", rolling=hidden * (taps - 1))
        if head := numbers.number("kda.head_dim", 0):
            rolling = 3 * (kernel - 1 if kernel else 3) * heads * head
            return LayerGeometry("linear attention", rolling=rolling, recurrent=head * head * heads)
        if numbers.arch == "minimax-01":
            return LayerGeometry("linear attention", recurrent=self.key**2 * heads)
        inner, state = numbers.number("ssm.inner_size"), numbers.number("ssm.state_size")
        width = inner + 2 * numbers.number("ssm.group_count", 0) * state
        delta = numbers.arch in _BY_INTERVAL
        return LayerGeometry(
            "linear attention" if delta else "state space",
            rolling=max(kernel - 1, 0) * width,
            recurrent=state * inner,
        )

    def _both(self, index: int) -> LayerGeometry:
        state, attention = self._state(), self._attention(index)
        return replace(
            attention,
            kind="attention and state space",
            rolling=state.rolling,
            recurrent=state.recurrent,
        )
