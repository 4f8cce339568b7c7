"""DeepSeek-V2: keys and values compressed together (MLA), experts after some dense layers.

Source: llama.cpp, conversion/deepseek.py (DeepseekV2Model), src/models/deepseek2.cpp, which has one
head of keys and values and the matrices that decompress them apart, that of keys transposed;
transformers' DeepseekV2Config for the defaults.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from qpipe.gguf import values
from qpipe.gguf.arch import llama
from qpipe.gguf.arch.base import BASE, MAX_EXPERTS, Architecture, Part, Spec
from qpipe.gguf.arch.dims import Dims
from qpipe.gguf.arch.views import Array
from qpipe.gguf.config import Config
from qpipe.gguf.config_fields import OTHER_METHODS, Constant, Field, Fields, Only, Positive, Whole
from qpipe.gguf.scalings import Scalings

# Numbers of layers by which llama.cpp takes a model for one without q_lora_rank.
_LITE = (26, 27)
_EPSILON = 1e-6


def _has_lora(config: Config, layer: int) -> bool:
    return config.has("q_lora_rank")


def _has_no_lora(config: Config, layer: int) -> bool:
    return not config.has("q_lora_rank")


def _dense(config: Config, layer: int) -> bool:
    return layer < config.integer("first_k_dense_replace", least=0)


def sparse(config: Config, layer: int) -> bool:
    """True for a layer with experts."""
    return not _dense(config, layer)


def own_sizes(config: Config) -> Mapping[str, int]:
    """The sizes of MLA."""
    heads, rank = config.integer("num_attention_heads"), config.integer("kv_lora_rank")
    nope, rope = config.integer("qk_nope_head_dim"), config.integer("qk_rope_head_dim")
    value, shared = config.integer("v_head_dim"), config.integer("n_shared_experts")
    return {
        "kv_heads": 1,
        "q_rank": config.integer("q_lora_rank") if config.has("q_lora_rank") else 0,
        "kv_rank": rank,
        "kv_rank_rope": rank + rope,
        "nope": nope,
        "rope": rope,
        "value": value,
        "key": nope + rope,
        "keys": heads * (nope + rope),
        "decompressed": heads * (nope + value),
        "attended": heads * value,
        "shared": shared * config.integer("moe_intermediate_size"),
    }


def check_groups(config: Config) -> None:
    """Refuse groups of experts with which llama.cpp loads no model (src/llama-model.cpp)."""
    groups, experts = config.integer("n_group", 1), config.integer("n_routed_experts")
    used = config.integer("topk_group", 1)
    if groups > 1 and (groups >= experts or experts % groups or used >= groups):
        why = f"llama.cpp loads a divisor of the {experts} experts, more than topk_group ({used})"
        raise config.unfit("n_group", f"{why}{OTHER_METHODS}")


def check(config: Config) -> Iterator[str]:
    """Refuse what llama.cpp loads otherwise."""
    layers, heads = (config.integer(n) for n in ("num_hidden_layers", "num_attention_heads"))
    if config.integer("num_key_value_heads", heads) != heads:
        raise config.bad("num_key_value_heads", f"num_attention_heads ({heads})")
    lite = layers in _LITE or (layers == 48 and config.integer("vocab_size") == 128256)
    if lite is config.has("q_lora_rank"):
        which = "no model" if lite else "models"
        raise config.unfit(
            "q_lora_rank",
            f"llama.cpp loads {which} of {layers} layers with it alone{OTHER_METHODS}",
        )
    check_groups(config)
    rope = config.integer("qk_rope_head_dim")
    if config.integer("head_dim", rope) != rope:
        raise config.bad("head_dim", f"qk_rope_head_dim ({rope})")
    if config.positive("rms_norm_eps") != _EPSILON:
        yield (
            f"{config.path.name}: llama.cpp computes all norms by rms_norm_eps, transformers those "
            f"of MLA by {_EPSILON:g}"
        )


def _check(config: Config) -> Iterator[str]:
    yield from check(config)
    if config.fields["topk_method"] == "group_limited_greedy" and config.integer("n_group", 1) > 1:
        yield (
            f"{config.path.name}: llama.cpp chooses groups of experts by the two best of each, and "
            "not by the best alone (topk_method)"
        )


def left_out(config: Config) -> Mapping[str, str]:
    """The layers beyond the last, which llama.cpp's converter passes over too."""
    last = config.integer("num_hidden_layers")
    beyond = "|".join(str(i) for i in range(last, last + 9))
    words = "layers that predict further tokens, which llama.cpp does not compute here"
    return {rf"model\.layers\.({beyond})\.": words}


def after_file_type(config: Config, dims: Dims) -> values.Metadata:
    """The keys of MLA and of experts."""
    size = dims.size
    fields = {
        "leading_dense_block_count": values.u32(config.integer("first_k_dense_replace", least=0)),
        "vocab_size": values.u32(dims.vocab),
    }
    if size("q_rank"):
        fields["attention.q_lora_rank"] = values.u32(size("q_rank"))
    fields |= {
        "attention.kv_lora_rank": values.u32(size("kv_rank")),
        "attention.key_length": values.u32(size("kv_rank_rope")),
        "attention.value_length": values.u32(size("kv_rank")),
        "attention.key_length_mla": values.u32(size("key")),
        "attention.value_length_mla": values.u32(size("value")),
        "expert_feed_forward_length": values.u32(dims.expert_ffn),
        "expert_shared_count": values.u32(config.integer("n_shared_experts")),
        "expert_weights_scale": values.f32(config.positive("routed_scaling_factor")),
    }
    if config.flag("norm_topk_prob"):
        fields["expert_weights_norm"] = values.boolean(True)
    fields["rope.dimension_count"] = values.u32(size("rope"))
    rope = config.section("rope_parameters")
    if rope.has("mscale_all_dim"):
        multiplier = 0.1 * rope.positive("mscale_all_dim")
        fields["rope.scaling.yarn_log_multiplier"] = values.f32(multiplier)
    return {f"deepseek2.{key}": value for key, value in fields.items()}


def _decompressing(stored: Array, dims: Dims) -> Array:
    rows = dims.size("nope") + dims.size("value")
    return stored.reshape(dims.heads, rows, stored.shape[1])


def _key_part(stored: Array, dims: Dims) -> Array:
    return _decompressing(stored, dims)[:, : dims.size("nope")].swapaxes(1, 2)


def _value_part(stored: Array, dims: Dims) -> Array:
    return _decompressing(stored, dims)[:, dims.size("nope") :]


FIELDS: Fields = {
    **BASE,
    "head_dim": Whole(null=True),
    "qk_head_dim": Field(),
    "attention_bias": Only(False, why="llama.cpp loads no biases here"),
    "mlp_bias": Only(False, why="llama.cpp loads no biases here"),
    "kv_lora_rank": Whole(512),
    "q_lora_rank": Whole(null=True),
    "qk_nope_head_dim": Whole(128),
    "qk_rope_head_dim": Whole(64),
    "v_head_dim": Whole(128),
    "n_routed_experts": Whole(64, most=MAX_EXPERTS),
    "num_experts": Whole(null=True, most=MAX_EXPERTS),
    "num_local_experts": Whole(null=True, most=MAX_EXPERTS),
    "n_shared_experts": Whole(2),
    "num_experts_per_tok": Whole(),
    "moe_intermediate_size": Whole(1407),
    "moe_layer_freq": Only(None, 1, why="llama.cpp has experts in every layer after the dense"),
    "routed_scaling_factor": Positive(1.0),
    "n_group": Whole(null=True),
    "topk_group": Whole(null=True),
    "ep_size": Field(),
    "aux_loss_alpha": Field(),
    "seq_aux": Field(),
    "pretraining_tp": Field(),
    "num_nextn_predict_layers": Field(),
    "num_mtp_layers": Field(),
}
LAYER = {
    "input_layernorm.weight": Spec(("hidden",)),
    "self_attn.q_proj.weight": Spec(("keys", "hidden"), layers=_has_no_lora),
    "self_attn.q_a_proj.weight": Spec(("q_rank", "hidden"), layers=_has_lora),
    "self_attn.q_a_layernorm.weight": Spec(("q_rank",), layers=_has_lora),
    "self_attn.q_b_proj.weight": Spec(("keys", "q_rank"), layers=_has_lora),
    "self_attn.kv_a_proj_with_mqa.weight": Spec(("kv_rank_rope", "hidden")),
    "self_attn.kv_a_layernorm.weight": Spec(("kv_rank",)),
    "self_attn.kv_b_proj.weight": Spec(
        ("decompressed", "kv_rank"),
        parts=(
            Part("attn_k_b.weight", ("heads", "kv_rank", "nope"), _key_part),
            Part("attn_v_b.weight", ("heads", "value", "kv_rank"), _value_part),
        ),
    ),
    "self_attn.o_proj.weight": Spec(("hidden", "attended")),
    "post_attention_layernorm.weight": Spec(("hidden",)),
    "mlp.gate_proj.weight": Spec(("ffn", "hidden"), layers=_dense),
    "mlp.up_proj.weight": Spec(("ffn", "hidden"), layers=_dense),
    "mlp.down_proj.weight": Spec(("hidden", "ffn"), layers=_dense),
    "mlp.gate.weight": Spec(("experts", "hidden"), layers=sparse),
    "mlp.shared_experts.gate_proj.weight": Spec(("shared", "hidden"), layers=sparse),
    "mlp.shared_experts.up_proj.weight": Spec(("shared", "hidden"), layers=sparse),
    "mlp.shared_experts.down_proj.weight": Spec(("hidden", "shared"), layers=sparse),
}

ARCHITECTURE = Architecture(
    name="deepseek2",
    hf_names=("DeepseekV2ForCausalLM",),
    fields={
        **FIELDS,
        "model_type": Constant("deepseek_v2"),
        "first_k_dense_replace": Whole(0, least=0),
        "topk_method": Only(
            "greedy", "group_limited_greedy", why="llama.cpp chooses experts so alone"
        ),
        "scoring_func": Only(None, "softmax", why="transformers computes softmax alone"),
        "norm_topk_prob": Only(False, why="transformers normalizes no weights of experts here"),
    },
    rope=Scalings(read=("beta_fast", "beta_slow"), log_multiplier="equal"),
    check=_check,
    own_sizes=own_sizes,
    left_out=left_out,
    expert_counts=("num_local_experts", "num_experts", "n_routed_experts"),
    after_file_type=after_file_type,
    model=llama.ARCHITECTURE.model,
    layer=LAYER,
    experts={
        "mlp.experts.{}.down_proj.weight": Spec(("hidden", "expert_ffn"), layers=sparse),
        "mlp.experts.{}.gate_proj.weight": Spec(("expert_ffn", "hidden"), layers=sparse),
        "mlp.experts.{}.up_proj.weight": Spec(("expert_ffn", "hidden"), layers=sparse),
    },
)
