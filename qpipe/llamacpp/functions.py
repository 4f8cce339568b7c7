"""Prototypes of the llama.h and ggml.h functions in use: name → (result, arguments)."""

from __future__ import annotations

import ctypes
from typing import Any

from qpipe.llamacpp.structs import (
    BatchStruct,
    ContextParams,
    GgufParams,
    LogCallback,
    ModelParams,
)

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
    "llama_detokenize": (_I32, [_POINTER, _POINTER, _I32, _POINTER, _I32, _BOOL, _BOOL]),
    "llama_init_from_model": (_POINTER, [_POINTER, ContextParams]),
    "llama_free": (None, [_POINTER]),
    "llama_get_memory": (_POINTER, [_POINTER]),
    "llama_memory_clear": (None, [_POINTER, _BOOL]),
    "llama_memory_seq_rm": (_BOOL, [_POINTER, _I32, _I32, _I32]),
    "llama_memory_seq_cp": (None, [_POINTER, _I32, _I32, _I32, _I32]),
    "llama_n_ctx_seq": (_U32, [_POINTER]),
    "llama_decode": (_I32, [_POINTER, BatchStruct]),
    "gguf_init_from_file": (_POINTER, [_STR, GgufParams]),
    "gguf_get_data_offset": (ctypes.c_size_t, [_POINTER]),
    "gguf_free": (None, [_POINTER]),
    "ggml_tensor_overhead": (ctypes.c_size_t, []),
    "ggml_op_name": (_STR, [ctypes.c_int]),
    "ggml_nbytes": (ctypes.c_size_t, [_POINTER]),
    "ggml_backend_tensor_get": (None, [_POINTER, _POINTER, ctypes.c_size_t, ctypes.c_size_t]),
    "llama_get_logits": (ctypes.POINTER(ctypes.c_float), [_POINTER]),
}
