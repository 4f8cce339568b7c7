"""Qwen3.5 and Qwen3.6: Qwen3-Next with dense layers, its linear projections apart.

Source: llama.cpp, conversion/qwen.py (Qwen3_5TextModel and its bases); transformers'
Qwen3_5TextConfig for the defaults. ggml repeats key heads as a tile, so value heads, which follow
each other by key head in the checkpoint, are put in the order of a tile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from qpipe.gguf import values
from qpipe.gguf.arch import llama, multimodal, qwen3_next
from qpipe.gguf.arch.base import BASE, Architecture, Spec
from qpipe.gguf.arch.dims import Dims
from qpipe.gguf.arch.views import Array
from qpipe.gguf.config import Config
from qpipe.gguf.config_fields import OTHER_METHODS, Constant, Whole
from qpipe.gguf.scalings import Scalings

_SECTIONS = (11, 11, 10, 0)


def _tiled(stored: Array, dims: Dims) -> Array:
    """Rows of value heads as [of a key head, key heads, ...]."""
    keys, heads = dims.size("k_heads"), dims.size("v_heads")
    size = len(stored) // heads
    return stored.reshape(keys, heads // keys, size, *stored.shape[1:]).swapaxes(0, 1)


def _tiled_after_keys(stored: Array, dims: Dims) -> Sequence[Array]:
    """Rows of q and k as they are, those of v tiled."""
    first = 2 * dims.size("keys")
    return stored[:first], _tiled(stored[first:], dims)


def _tiled_columns(stored: Array, dims: Dims) -> Array:
    keys, heads = dims.size("k_heads"), dims.size("v_heads")
    return stored.reshape(len(stored), keys, heads // keys, -1).swapaxes(1, 2)


def after_file_type(arch: str) -> Callable[[Config, Dims], values.Metadata]:
    """Qwen3-Next's keys, and the sections of RoPE, which llama.cpp wants in every file."""
    shared = qwen3_next.after_file_type(arch)

    def metadata(config: Config, dims: Dims) -> values.Metadata:
        fields = shared(config, dims)
        if not config.section("rope_parameters").has("mrope_section"):
            fields[f"{arch}.rope.dimension_sections"] = values.i32s(_SECTIONS)
        return fields

    return metadata


def check(config: Config) -> Iterator[str]:
    """Refuse what Qwen3-Next refuses, and sections that leave pairs of RoPE out.

    ggml turns pair i by the section i modulo 3 while i is below three times its size, and leaves it
    as it is beyond (ggml/src/ggml-cpu/ops.cpp, ggml_mrope_cache_init); transformers turns it.
    """
    yield from qwen3_next.check(config)
    rope = config.section("rope_parameters")
    sections = rope.fields.get("mrope_section", _SECTIONS)
    rotated = int(config.integer("head_dim") * rope.positive("partial_rotary_factor"))
    three = isinstance(sections, list | tuple) and len(sections) >= 3
    if not three or any(type(n) is not int or n < 0 for n in sections):
        raise rope.bad("mrope_section", "three whole numbers")
    if any(pair >= 3 * sections[pair % 3] for pair in range(rotated // 2)):
        why = f"llama.cpp turns no pair of RoPE beyond its section, and {rotated // 2} are to be"
        raise rope.unfit("mrope_section", f"{why}{OTHER_METHODS}")


LINEAR = qwen3_next.linear(
    in_projections={
        "linear_attn.in_proj_qkv.weight": Spec(
            ("qkv_linear", "hidden"), name="attn_qkv.weight", view=_tiled_after_keys
        ),
        "linear_attn.in_proj_z.weight": Spec(
            ("values", "hidden"), name="attn_gate.weight", view=_tiled
        ),
        "linear_attn.in_proj_b.weight": Spec(
            ("v_heads", "hidden"), name="ssm_beta.weight", view=_tiled
        ),
        "linear_attn.in_proj_a.weight": Spec(
            ("v_heads", "hidden"), name="ssm_alpha.weight", view=_tiled
        ),
    },
    heads=_tiled,
    kernels=_tiled_after_keys,
    out=_tiled_columns,
)
ROPE = Scalings(partial=0.25, options=("mrope_section", "mrope_interleaved"))

ARCHITECTURE = Architecture(
    name="qwen35",
    hf_names=("Qwen3_5ForCausalLM", "Qwen3_5ForConditionalGeneration"),
    fields={
        **BASE,
        **multimodal.FIELDS,
        **qwen3_next.LINEAR_FIELDS,
        "model_type": Constant("qwen3_5_text"),
        "num_key_value_heads": Whole(4),
    },
    rope=ROPE,
    check=check,
    own_sizes=qwen3_next.own_sizes,
    renamed=qwen3_next.renamed,
    left_out=multimodal.towers,
    extra_layers="mtp_num_hidden_layers",
    after_file_type=after_file_type("qwen35"),
    model=qwen3_next.MODEL,
    layer=qwen3_next.ATTENTION | LINEAR | qwen3_next.FURTHER_TOKENS | llama.FEED_FORWARD,
)
