"""What an architecture says of each field of config.json.

A table {field: `Field`} is the whole of it: what the converter reads, what has no effect on what a
model computes, and what must have one value because llama.cpp computes by it whatever a file says.
Defaults are those of transformers' config classes. A field in no table is one that transformers
passes over as well (a test compares the tables with its sources), and `unknown` notes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from qpipe import errors
from qpipe.gguf.config import MOST, Config

OTHER_METHODS = "; other methods than gguf keep it (qpipe engines lists them)"


@dataclass(frozen=True)
class Field:
    """A field without effect, whatever its value.

    ``default`` stands in where config.json lacks the field; None: nothing does. ``null`` says that
    transformers takes null for the same as the lack of a default.
    """

    default: Any = None
    null: bool = False

    def check(self, config: Config, name: str) -> None:
        """`CheckpointError` naming the field for a value that cannot be."""


@dataclass(frozen=True)
class Whole(Field):
    """An integer from ``least``, a positive one, to ``most``."""

    most: int = MOST
    least: int = 1

    def check(self, config: Config, name: str) -> None:
        """Raise `CheckpointError` naming the field unless it is an integer from ``least`` to
        ``most``, or null where ``null`` allows that."""
        if not self.null or config.has(name):
            config.integer(name, least=self.least, most=self.most)


@dataclass(frozen=True)
class Positive(Field):
    """A positive number."""

    def check(self, config: Config, name: str) -> None:
        """Raise `CheckpointError` naming the field unless it is a positive number, or null where
        ``null`` allows that."""
        if not self.null or config.has(name):
            config.positive(name)


@dataclass(frozen=True)
class Flag(Field):
    """True or false."""

    def check(self, config: Config, name: str) -> None:
        """Raise `CheckpointError` naming the field unless it is true or false."""
        config.flag(name)


@dataclass(frozen=True)
class Constant(Field):
    """``default`` and nothing else, for anything else contradicts another field."""

    def check(self, config: Config, name: str) -> None:
        """Raise `CheckpointError` naming the field unless it is ``default``."""
        if config.fields[name] != self.default:
            raise config.bad(name, f"{self.default!r}, which goes with the model class")


@dataclass(frozen=True, init=False)
class Only(Field):
    """One of ``values``, or missing where the default is; ``why`` llama.cpp has no other."""

    values: tuple[Any, ...] = ()
    why: str = ""

    def __init__(self, *values: Any, why: str, default: Any = None) -> None:
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "why", why)
        object.__setattr__(self, "default", values[0] if default is None else default)

    def check(self, config: Config, name: str) -> None:
        """Raise `CheckpointError` naming the field unless it is one of ``values``."""
        value = config.fields.get(name, self.default)
        # 1, 1.0 and true are equal in Python, and three things in JSON.
        if not any(type(value) is type(one) and value == one for one in self.values):
            raise config.unfit(name, f"{self.why}{OTHER_METHODS}")


Fields = Mapping[str, Field]

# Fields of config.json that change nothing of what a model computes, in any architecture: those of
# transformers' PreTrainedConfig (configuration_utils.py, 5.17.0; older ones had more), of training,
# and what tools for fine-tuning and quantizing leave behind.
_NAMES = """
_attn_implementation _attn_implementation_autoset _commit_hash _experts_implementation
_flash_attn_2_enabled _name_or_path _remove_final_layer_norm _unsloth_optimized
_use_flash_attention_2 architectures attn_implementation auto_map base_model_name
bos_token_id cache_implementation chunk_size_feed_forward custom_pipelines dtype
eos_token_id experts_implementation finetuning_task float_dtype gradient_checkpointing id2label
initializer_range is_decoder is_encoder_decoder is_llama_config keys_to_ignore_at_inference
label2id max_window_layers name_or_path neftune_noise_alpha num_labels output_attentions
output_hidden_states output_router_logits pad_token_id prefix pretraining_tp problem_type
pruned_heads quantization_config compression_config return_dict return_dict_in_generate
rope_interleaved router_aux_loss_coef sep_token_id task_specific_params tf_legacy_loss
tokenizer_class tokenizer_model torch_dtype torchscript transformers.js_config
transformers_version transformers_weights unk_token_id unsloth_fixed unsloth_tiled_mlp
unsloth_version use_bfloat16 use_cache use_flash_attn use_flash_attention use_mrope
attention_dropout attention_probs_dropout_prob embd_pdrop hidden_dropout hidden_dropout_prob
resid_pdrop summary_type tie_encoder_decoder cross_attention_hidden_size add_cross_attention
classifier_dropout fp16 bf16 mask_token_id model_max_length original_model
"""

# Of generation: transformers takes them off a config (GenerationConfig's parameters).
_GENERATION = """
bad_words_ids begin_suppress_tokens decoder_start_token_id diversity_penalty do_sample
early_stopping encoder_no_repeat_ngram_size exponential_decay_length_penalty forced_bos_token_id
forced_eos_token_id length_penalty max_length max_new_tokens min_length min_p no_repeat_ngram_size
num_beam_groups num_beams num_return_sequences output_scores remove_invalid_values
repetition_penalty suppress_tokens temperature top_k top_p typical_p
"""

INERT: Fields = dict.fromkeys((*_NAMES.split(), *_GENERATION.split()), Field())
"""All of these, for every architecture's table."""


def completed(config: Config, fields: Fields) -> Config:
    """``config`` with transformers' defaults in place of what is missing, each field checked."""
    full = with_defaults(config, fields)
    for name, field in fields.items():
        field.check(full, name)
    return full


def with_defaults(config: Config, fields: Fields) -> Config:
    """`completed` without the checks."""
    defaults = {name: field.default for name, field in fields.items() if field.default is not None}
    return Config(config.path, defaults | dict(config.fields))


def unknown(config: Config, fields: Iterable[str], where: str = "transformers") -> list[str]:
    """A note of the fields that are not among ``fields``, but for null and false ones; none if
    there are none."""
    present = {name for name, value in config.fields.items() if value not in (None, False)}
    names = sorted(present - set(fields))
    if not names:
        return []
    shown = ", ".join(errors.quoted(name, most=60) for name in names[:10])
    shown += ", …" if len(names) > 10 else ""
    return [f"{config.path.name}: unknown to {where}, and passed over as there: {shown}"]
