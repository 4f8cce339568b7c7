"""A KV cache to decode batches in: tokens in, logits out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from qpipe.errors import DataError, StageError, UsageError, nearest
from qpipe.llamacpp.batch import Batch
from qpipe.llamacpp.c_api import (
    CACHE_TYPES,
    FLASH_ATTENTION,
    UNQUANTIZED_CACHE_TYPES,
    ContextParams,
)
from qpipe.llamacpp.model import Model
from qpipe.llamacpp.observe import Watch
from qpipe.support.closable import Closable

LogitsArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ContextOptions:
    """Settings of a context.

    ``n_ctx`` is the length of each of ``n_seq`` independent sequences, or, if they are
    ``shared``, the number of tokens that all of them have together, one in several sequences
    counted once. A decode takes at most ``n_batch`` tokens, which llama.cpp computes ``n_ubatch``
    at a time. ``type_k`` and ``type_v`` are the KV cache's types. Raises UsageError for a
    combination that cannot run.
    """

    n_ctx: int
    threads: int
    n_batch: int = 2048
    n_ubatch: int = 512
    n_seq: int = 1
    flash_attention: Literal["auto", "on", "off"] = "auto"
    type_k: str = "f16"
    type_v: str = "f16"
    shared: bool = False

    def __post_init__(self) -> None:
        for name in ("n_ctx", "threads", "n_batch", "n_ubatch", "n_seq"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}: it must be 1 or more")
        for name in ("type_k", "type_v"):
            if getattr(self, name) not in CACHE_TYPES:
                hint = nearest(getattr(self, name), CACHE_TYPES)
                raise UsageError(f"{name}: no KV cache type {getattr(self, name)!r}; {hint}")
        if self.flash_attention == "off" and self.type_v not in UNQUANTIZED_CACHE_TYPES:
            raise UsageError(
                f"type_v={self.type_v} needs flash attention: set flash_attention to auto or on, "
                "or type_v to f16"
            )


# llama.h, llama_decode.
_DECODE_ERRORS = {
    1: "the batch does not fit into the KV cache",
    2: "decoding was aborted",
    -1: "llama.cpp calls the batch invalid (a token outside the vocabulary?)",
}


class LlamaContext(Closable):
    """A KV cache and buffers for one model; a context manager. Close it before its model.

    ``watch`` is shown what every decode computes; what its observer raises, ``decode`` raises.
    """

    def __init__(
        self, model: Model, options: ContextOptions, *, watch: Watch | None = None
    ) -> None:
        self.model = model
        self.options = options
        self._watch = watch
        self._c = model.lib.c
        model.lib.log.clear()
        params = _params(self._c.llama_context_default_params(), options)
        if model.n_gpu_layers == 0:
            params.offload_kqv = params.op_offload = False
        if watch:
            params.cb_eval = watch.address
        self._pointer: int | None = self._c.llama_init_from_model(model.pointer, params)
        if not self._pointer:
            raise StageError(
                f"llama.cpp cannot make a context of {options.n_seq} × {options.n_ctx} tokens for "
                f"{model.path}: {model.lib.log.reason()}. Try a smaller n_ctx or n_batch"
            )

    def clear(self) -> None:
        """Empty the KV cache: the next decode starts at position 0."""
        self._c.llama_memory_clear(self._c.llama_get_memory(self._pointer), False)

    def share(self, source: int, target: int, *, end: int) -> None:
        """Let sequence ``target`` begin as ``source`` does, up to position ``end``; no copying.

        Only in a context whose sequences are ``shared``.
        """
        assert self.options.shared, "these sequences lie apart"
        memory = self._c.llama_get_memory(self._pointer)
        self._c.llama_memory_seq_cp(memory, source, target, 0, end)

    def trim(self, sequence: int, *, begin: int = 0) -> None:
        """Forget what a sequence has from position ``begin`` on."""
        memory = self._c.llama_get_memory(self._pointer)
        removed = self._c.llama_memory_seq_rm(memory, sequence, begin, -1)
        assert removed, f"the cache cannot forget sequence {sequence} from position {begin}"

    def decode(self, batch: Batch) -> LogitsArray:
        """Logits [batch.n_outputs, n_vocab] in the order of the batch's tokens.

        A read-only view of llama.cpp's own buffer: it is overwritten by the next decode.
        Raises DataError for tokens outside the vocabulary, StageError if llama.cpp fails.
        """
        assert self._pointer, "the context is closed"
        n_vocab = self.model.vocab.n_tokens
        if batch.tokens.min() < 0 or batch.tokens.max() >= n_vocab:
            raise DataError(
                f"token ids {batch.tokens.min()} to {batch.tokens.max()} were given to "
                f"{self.model.path}, whose vocabulary has {n_vocab}: the text was tokenized for "
                "another model"
            )
        self.model.lib.log.clear()
        code = self._c.llama_decode(self._pointer, batch.struct())
        if self._watch:
            self._watch.reraise()
        self._check(code, batch)
        if not batch.n_outputs:
            return np.empty((0, n_vocab), np.float32)
        pointer = self._c.llama_get_logits(self._pointer)
        view: LogitsArray = np.ctypeslib.as_array(pointer, shape=(batch.n_outputs, n_vocab))
        view.flags.writeable = False
        return view

    def _check(self, code: int, batch: Batch) -> None:
        if code:
            problem = _DECODE_ERRORS.get(code, f"decoding failed with code {code}")
            raise StageError(
                f"{self.model.path}: {problem}; batch of {len(batch.tokens)} tokens, context of "
                f"{self.options.n_seq} × {self.options.n_ctx}: {self.model.lib.log.reason()}"
            )

    def close(self) -> None:
        """Free the context's memory."""
        if self._pointer:
            self._c.llama_free(self._pointer)
            self._pointer = None


def _params(params: ContextParams, options: ContextOptions) -> ContextParams:
    params.n_ctx = options.n_ctx * (1 if options.shared else options.n_seq)
    params.kv_unified = options.shared
    params.n_batch = options.n_batch
    params.n_ubatch = min(options.n_ubatch, options.n_batch)
    params.n_seq_max = options.n_seq
    params.n_threads = params.n_threads_batch = options.threads
    params.flash_attn_type = FLASH_ATTENTION[options.flash_attention]
    params.type_k = CACHE_TYPES[options.type_k]
    params.type_v = CACHE_TYPES[options.type_v]
    return params
