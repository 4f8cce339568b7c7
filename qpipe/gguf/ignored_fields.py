"""Fields of config.json that change nothing of what a model computes, in any architecture.

Those of transformers' PreTrainedConfig (configuration_utils.py, 5.17.0; older ones had more), of
training and generation, and what tools for fine-tuning and quantizing leave behind.
"""

from __future__ import annotations

from qpipe.gguf.config_fields import Field, Fields

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
