"""llama.h and ggml.h for one exact version of the xllamacpp wheel: structs and prototypes.

Source: include/llama.h, ggml/include/ggml.h, ggml/include/ggml-backend.h and the
``*_default_params`` functions of src/llama-model.cpp and src/llama-context.cpp in the wheel's own
source distribution (thirdparty/llama.cpp). Nearby versions differ: llama-cpp-python 0.3.36 lacks
``moe_cache_size`` in the middle of a struct.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any

WHEEL = "xllamacpp"
WHEEL_VERSION = "2026.10.11549"
LLAMA_VERSION = "0.6.0-dev"

# Enums are C ints; the values in use.
LOG_WARN, LOG_ERROR, LOG_CONTINUED = 3, 4, 5
VOCAB_SPM, VOCAB_BPE = 1, 2
LOAD_NONE = 0
FLASH_ATTENTION: Mapping[str, int] = {"auto": -1, "off": 0, "on": 1}
# ggml.h, enum ggml_type: what a KV cache can be made of.
CACHE_TYPES: Mapping[str, int] = {
    "f32": 0,
    "f16": 1,
    "q4_0": 2,
    "q4_1": 3,
    "q5_0": 6,
    "q5_1": 7,
    "q8_0": 8,
    "iq4_nl": 20,
    "bf16": 30,
}
UNQUANTIZED_CACHE_TYPES = frozenset({"f32", "f16", "bf16"})

# ggml.h, enum ggml_type and ggml_op: what an observer of a computation meets.
TYPE_F32, TYPE_I32 = 0, 26
OPERATIONS: Mapping[str, int] = {"MUL_MAT": 29, "MUL_MAT_ID": 30}
# ggml-backend.cpp: where a buffer made of memory that is there already may begin.
BUFFER_ALIGNMENT = 32
# ggml_tensor_overhead(): sizeof(ggml_object) + sizeof(ggml_tensor).
TENSOR_OVERHEAD = 32 + 336

LogCallback = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
# ggml-backend.h, ggml_backend_sched_eval_callback: (tensor, ask, user data) → wanted, or go on.
EvalCallback = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.c_bool, ctypes.c_void_p)


class ModelParams(ctypes.Structure):
    """``llama_model_params``."""

    _fields_ = [
        ("devices", ctypes.c_void_p),
        ("tensor_buft_overrides", ctypes.c_void_p),
        ("n_gpu_layers", ctypes.c_int32),
        ("split_mode", ctypes.c_int),
        ("load_mode", ctypes.c_int),
        ("lazy_mode", ctypes.c_int),
        ("main_gpu", ctypes.c_int32),
        ("tensor_split", ctypes.c_void_p),
        ("progress_callback", ctypes.c_void_p),
        ("progress_callback_user_data", ctypes.c_void_p),
        ("kv_overrides", ctypes.c_void_p),
        ("vocab_only", ctypes.c_bool),
        ("check_tensors", ctypes.c_bool),
        ("use_extra_bufts", ctypes.c_bool),
        ("no_host", ctypes.c_bool),
        ("no_alloc", ctypes.c_bool),
        ("load_mtp", ctypes.c_bool),
    ]


class GgufInitParams(ctypes.Structure):
    """``gguf_init_params`` (ggml/include/gguf.h)."""

    _fields_ = [("no_alloc", ctypes.c_bool), ("ctx", ctypes.c_void_p)]


class ContextParams(ctypes.Structure):
    """``llama_context_params``."""

    _fields_ = [
        ("n_ctx", ctypes.c_uint32),
        ("n_batch", ctypes.c_uint32),
        ("n_ubatch", ctypes.c_uint32),
        ("n_seq_max", ctypes.c_uint32),
        ("n_rs_seq", ctypes.c_uint32),
        ("n_outputs_max", ctypes.c_uint32),
        ("n_outputs_max_per_seq", ctypes.c_uint32),
        ("n_threads", ctypes.c_int32),
        ("n_threads_batch", ctypes.c_int32),
        ("ctx_type", ctypes.c_int),
        ("rope_scaling_type", ctypes.c_int),
        ("pooling_type", ctypes.c_int),
        ("attention_type", ctypes.c_int),
        ("flash_attn_type", ctypes.c_int),
        ("rope_freq_base", ctypes.c_float),
        ("rope_freq_scale", ctypes.c_float),
        ("yarn_ext_factor", ctypes.c_float),
        ("yarn_attn_factor", ctypes.c_float),
        ("yarn_beta_fast", ctypes.c_float),
        ("yarn_beta_slow", ctypes.c_float),
        ("yarn_orig_ctx", ctypes.c_uint32),
        ("defrag_thold", ctypes.c_float),
        ("cb_eval", ctypes.c_void_p),
        ("cb_eval_user_data", ctypes.c_void_p),
        ("type_k", ctypes.c_int),
        ("type_v", ctypes.c_int),
        ("moe_cache_size", ctypes.c_size_t),
        ("abort_callback", ctypes.c_void_p),
        ("abort_callback_data", ctypes.c_void_p),
        ("embeddings", ctypes.c_bool),
        ("offload_kqv", ctypes.c_bool),
        ("no_perf", ctypes.c_bool),
        ("op_offload", ctypes.c_bool),
        ("swa_full", ctypes.c_bool),
        ("kv_unified", ctypes.c_bool),
        ("samplers", ctypes.c_void_p),
        ("n_samplers", ctypes.c_size_t),
        ("ctx_other", ctypes.c_void_p),
    ]


class BatchStruct(ctypes.Structure):
    """``llama_batch``; every pointer is the address of an array of ``n_tokens`` elements."""

    _fields_ = [
        ("n_tokens", ctypes.c_int32),
        ("token", ctypes.c_void_p),
        ("embd", ctypes.c_void_p),
        ("pos", ctypes.c_void_p),
        ("n_seq_id", ctypes.c_void_p),
        ("seq_id", ctypes.c_void_p),
        ("logits", ctypes.c_void_p),
    ]


class TensorStruct(ctypes.Structure):
    """``ggml_tensor`` (ggml/include/ggml.h)."""

    _fields_ = [
        ("type", ctypes.c_int),
        ("buffer", ctypes.c_void_p),
        ("ne", ctypes.c_int64 * 4),
        ("nb", ctypes.c_size_t * 4),
        ("op", ctypes.c_int),
        ("op_params", ctypes.c_int32 * 16),
        ("flags", ctypes.c_int32),
        ("src", ctypes.c_void_p * 10),
        ("view_src", ctypes.c_void_p),
        ("view_offs", ctypes.c_size_t),
        ("data", ctypes.c_void_p),
        ("name", ctypes.c_char * 64),
        ("extra", ctypes.c_void_p),
        ("padding", ctypes.c_char * 8),
    ]


_POINTER = ctypes.c_void_p
_I32 = ctypes.c_int32
_U32 = ctypes.c_uint32
_U64 = ctypes.c_uint64
_STR = ctypes.c_char_p
_BOOL = ctypes.c_bool

PROTOTYPES: dict[str, tuple[Any, list[Any]]] = {
    "llama_version": (_STR, []),
    "llama_log_set": (None, [LogCallback, _POINTER]),
    "llama_backend_init": (None, []),
    "llama_model_default_params": (ModelParams, []),
    "llama_context_default_params": (ContextParams, []),
    "llama_model_load_from_file": (_POINTER, [_STR, ModelParams]),
    "llama_model_free": (None, [_POINTER]),
    "llama_model_get_vocab": (_POINTER, [_POINTER]),
    "llama_model_n_ctx_train": (_I32, [_POINTER]),
    "llama_model_n_params": (_U64, [_POINTER]),
    "llama_model_size": (_U64, [_POINTER]),
    "llama_model_desc": (_I32, [_POINTER, _STR, ctypes.c_size_t]),
    "llama_model_has_decoder": (_BOOL, [_POINTER]),
    "llama_model_is_recurrent": (_BOOL, [_POINTER]),
    "llama_model_is_hybrid": (_BOOL, [_POINTER]),
    "llama_model_chat_template": (_STR, [_POINTER, _STR]),
    "llama_vocab_type": (ctypes.c_int, [_POINTER]),
    "llama_vocab_n_tokens": (_I32, [_POINTER]),
    "llama_vocab_get_text": (_STR, [_POINTER, _I32]),
    "llama_vocab_bos": (_I32, [_POINTER]),
    "llama_vocab_eos": (_I32, [_POINTER]),
    "llama_vocab_is_eog": (_BOOL, [_POINTER, _I32]),
    "llama_vocab_get_add_bos": (_BOOL, [_POINTER]),
    "llama_vocab_get_add_eos": (_BOOL, [_POINTER]),
    "llama_tokenize": (_I32, [_POINTER, _STR, _I32, _POINTER, _I32, _BOOL, _BOOL]),
    "llama_token_to_piece": (_I32, [_POINTER, _I32, _POINTER, _I32, _I32, _BOOL]),
    "llama_detokenize": (_I32, [_POINTER, _POINTER, _I32, _POINTER, _I32, _BOOL, _BOOL]),
    "llama_init_from_model": (_POINTER, [_POINTER, ContextParams]),
    "llama_free": (None, [_POINTER]),
    "llama_get_memory": (_POINTER, [_POINTER]),
    "llama_memory_clear": (None, [_POINTER, _BOOL]),
    "llama_memory_seq_rm": (_BOOL, [_POINTER, _I32, _I32, _I32]),
    "llama_memory_seq_cp": (None, [_POINTER, _I32, _I32, _I32, _I32]),
    "llama_n_ctx_seq": (_U32, [_POINTER]),
    "llama_decode": (_I32, [_POINTER, BatchStruct]),
    "gguf_init_from_file": (_POINTER, [_STR, GgufInitParams]),
    "gguf_get_data_offset": (ctypes.c_size_t, [_POINTER]),
    "gguf_free": (None, [_POINTER]),
    "ggml_tensor_overhead": (ctypes.c_size_t, []),
    "ggml_op_name": (_STR, [ctypes.c_int]),
    "ggml_nbytes": (ctypes.c_size_t, [_POINTER]),
    # llama_model::get_tensor(char const *) const (src/llama-model.h), which llama.h has not.
    "_ZNK11llama_model10get_tensorEPKc": (_POINTER, [_POINTER, _STR]),
    "ggml_backend_tensor_set": (None, [_POINTER, _POINTER, ctypes.c_size_t, ctypes.c_size_t]),
    "ggml_backend_tensor_get": (None, [_POINTER, _POINTER, ctypes.c_size_t, ctypes.c_size_t]),
    "llama_get_logits": (ctypes.POINTER(ctypes.c_float), [_POINTER]),
}
"""The functions in use: name → (result, arguments)."""

# What the default functions must be read as; fields that are not listed must be zero or null.
MODEL_DEFAULTS: Mapping[str, int | float | bool] = {
    "n_gpu_layers": -1,
    "split_mode": 1,
    "load_mode": -1,
    "lazy_mode": 1,
    "use_extra_bufts": True,
}
CONTEXT_DEFAULTS: Mapping[str, int | float | bool] = {
    "n_ctx": 512,
    "n_batch": 2048,
    "n_ubatch": 512,
    "n_seq_max": 1,
    "n_outputs_max_per_seq": 1,
    "n_threads": 4,
    "n_threads_batch": 4,
    "rope_scaling_type": -1,
    "pooling_type": -1,
    "attention_type": -1,
    "flash_attn_type": -1,
    "yarn_ext_factor": -1.0,
    "yarn_attn_factor": -1.0,
    "yarn_beta_fast": -1.0,
    "yarn_beta_slow": -1.0,
    "defrag_thold": -1.0,
    "type_k": 1,
    "type_v": 1,
    "offload_kqv": True,
    "no_perf": True,
    "op_offload": True,
    "swa_full": True,
}


def differences(
    read: ctypes.Structure, expected: Mapping[str, int | float | bool]
) -> list[tuple[str, object, object]]:
    """(field, value read, value known) wherever a struct of defaults is not what it must be."""
    fields = [field[0] for field in read._fields_]
    values = [(name, getattr(read, name) or 0, expected.get(name, 0)) for name in fields]
    return [(name, got, want) for name, got, want in values if got != want]
