"""A GGUF file opened by llama.cpp, and its vocabulary."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

import numpy as np
import numpy.typing as npt

from qpipe.errors import CheckpointError, DataError
from qpipe.llamacpp import library
from qpipe.llamacpp.c_api import BUFFER_ALIGNMENT, LOAD_NONE, GgufInitParams
from qpipe.llamacpp.coverage import require_coverage
from qpipe.support.closable import Closable

TokenArray = npt.NDArray[np.int32]


class Vocab:
    """The tokenizer inside a model; lives as long as the model."""

    def __init__(self, lib: library.Library, pointer: int) -> None:
        self._lib = lib
        self._pointer = pointer
        self.n_tokens: int = lib.c.llama_vocab_n_tokens(pointer)
        self.type: int = lib.c.llama_vocab_type(pointer)
        self.bos: int = lib.c.llama_vocab_bos(pointer)
        self.eos: int = lib.c.llama_vocab_eos(pointer)
        self.add_bos: bool = lib.c.llama_vocab_get_add_bos(pointer)
        self.add_eos: bool = lib.c.llama_vocab_get_add_eos(pointer)

    @functools.cached_property
    def pieces(self) -> frozenset[str]:
        """The text of every token as the file stores it: spaces and bytes still escaped."""
        read = self._lib.c.llama_vocab_get_text
        texts = (read(self._pointer, token) for token in range(self.n_tokens))
        return frozenset(text.decode("utf-8", "replace") for text in texts)

    def tokenize(
        self, text: str, *, add_special: bool = False, parse_special: bool = False
    ) -> TokenArray:
        """Token ids of ``text``.

        ``add_special`` adds BOS and EOS where the model asks for them; ``parse_special`` reads
        the spelling of control tokens as these tokens. Raises DataError for text that the
        vocabulary cannot write, see ``coverage``.
        """
        data = _encode(text)
        # llama.cpp 0.6.0-dev dies of, or drops, what the vocabulary cannot write.
        require_coverage(text, self.pieces, vocab_type=self.type)
        tokens = np.empty(len(data) + 2, np.int32)
        count: int = self._lib.c.llama_tokenize(
            self._pointer, data, len(data), tokens.ctypes.data, len(tokens), add_special,
            parse_special,
        )  # fmt: skip
        if count < 0:
            raise DataError(
                f"llama.cpp could not tokenize the text of {len(data)} bytes (result {count}): "
                f"{self._lib.log.reason()}"
            )
        return tokens[:count].copy()

    def detokenize(self, tokens: npt.ArrayLike, *, special: bool = False) -> str:
        """The text of tokens; control tokens have none unless ``special``. Bytes that are no
        UTF-8, as in a character cut short, become U+FFFD."""
        ids = np.ascontiguousarray(tokens, np.int32)
        size = 16 * len(ids) + 64
        for _ in range(2):
            buffer = ctypes.create_string_buffer(size)
            count: int = self._lib.c.llama_detokenize(
                self._pointer, ids.ctypes.data, len(ids), buffer, size, False, special
            )
            if count >= 0:
                break
            size = -count
        return buffer.raw[:count].decode("utf-8", "replace")

    def piece(self, token: int) -> bytes:
        """The bytes that one token adds to a text; none for a control token."""
        size = 64
        for _ in range(2):
            buffer = ctypes.create_string_buffer(size)
            count: int = self._lib.c.llama_token_to_piece(
                self._pointer, token, buffer, size, 0, False
            )
            if count >= 0:
                break
            size = -count
        return buffer.raw[:count]

    def text(self, token: int) -> str:
        """The spelling of one token as the file stores it."""
        stored: bytes = self._lib.c.llama_vocab_get_text(self._pointer, token)
        return stored.decode("utf-8", "replace")

    def spelled(self, token: int) -> str:
        """The spelling of one token as in `text`; nothing for -1, a token that there is not."""
        return "" if token < 0 else self.text(token)

    @functools.cached_property
    def ends(self) -> frozenset[int]:
        """Every token that ends a turn: EOS, and what else llama.cpp knows by its name or from the
        file (llama-vocab.cpp, ``special_eog_ids``)."""
        is_end = self._lib.c.llama_vocab_is_eog
        return frozenset(t for t in range(self.n_tokens) if is_end(self._pointer, t))


class Model(Closable):
    """A loaded model; a context manager, because its memory lies outside Python.

    With ``n_gpu_layers`` 0 everything is computed on the CPU; -1 offloads all layers. With
    ``vocab_only`` there are no weights: it can tokenize, and no more. The file is mapped into
    memory, or read where llama.cpp cannot map it, or where it is ``writable``: its weights may then
    be replaced (`qpipe.llamacpp.weights`).
    Raises CheckpointError with llama.cpp's reason if the file cannot be loaded.
    """

    def __init__(
        self,
        path: Path,
        *,
        n_gpu_layers: int = 0,
        vocab_only: bool = False,
        writable: bool = False,
    ) -> None:
        self.path = path
        self.lib = library.load()
        self.n_gpu_layers = n_gpu_layers
        c = self.lib.c
        params = c.llama_model_default_params()
        params.n_gpu_layers = n_gpu_layers
        params.vocab_only = vocab_only
        if not path.is_file():
            raise CheckpointError(f"{path} is not a file: give the path of a GGUF file")
        # llama.cpp 0.6.0-dev ends the process where it maps such a file.
        if not vocab_only and not _mappable(self.lib, path):
            params.load_mode = LOAD_NONE
        if writable:
            # Repacked for a processor, weights would lie otherwise than in the file.
            params.load_mode, params.use_extra_bufts = LOAD_NONE, False
        self.lib.log.clear()
        self._pointer: int | None = c.llama_model_load_from_file(bytes(path), params)
        if not self._pointer:
            raise CheckpointError(
                f"llama.cpp cannot load {path}: {self.lib.log.reason()}. "
                "Make the file again, or use one of an architecture that this llama.cpp knows"
            )
        self.vocab = Vocab(self.lib, c.llama_model_get_vocab(self.pointer))
        self.n_ctx_train: int = c.llama_model_n_ctx_train(self.pointer)

    @property
    def pointer(self) -> int:
        """The C pointer of the open model."""
        assert self._pointer, "the model is closed"
        return self._pointer

    def describe(self) -> str:
        """llama.cpp's short description, e.g. ``llama ?B Q8_0``."""
        buffer = ctypes.create_string_buffer(256)
        self.lib.c.llama_model_desc(self.pointer, buffer, len(buffer))
        return buffer.value.decode("utf-8", "replace")

    @property
    def keeps_every_token(self) -> bool:
        """True if the memory is a cache of tokens, of which a part can be forgotten or shared."""
        c = self.lib.c
        return not (
            c.llama_model_is_recurrent(self.pointer) or c.llama_model_is_hybrid(self.pointer)
        )

    @property
    def chat_template(self) -> str | None:
        """The Jinja template in which the model was taught to chat, if the file has one."""
        template: bytes | None = self.lib.c.llama_model_chat_template(self.pointer, None)
        try:
            return None if template is None else template.decode("utf-8")
        except UnicodeDecodeError as error:
            raise CheckpointError(
                f"{self.path.name}: its chat template is no UTF-8 (at byte {error.start}); make "
                "the file again"
            ) from None

    def close(self) -> None:
        """Free the model; contexts made from it must be closed before."""
        if self._pointer:
            self.lib.c.llama_model_free(self._pointer)
            self._pointer = None


def _mappable(lib: library.Library, path: Path) -> bool:
    """True if llama.cpp can map the file. It ends the process at weights that begin at no multiple
    of 32 bytes (0.6.0-dev, ggml_backend_cpu_buffer_from_ptr), which is where a file with a smaller
    general.alignment may have them."""
    header = lib.c.gguf_init_from_file(bytes(path), GgufInitParams(no_alloc=True))
    if not header:
        return True  # loading says why
    offset: int = lib.c.gguf_get_data_offset(header)
    lib.c.gguf_free(header)
    # llama.cpp 0.6.0-dev, ggml_backend_cpu_buffer_from_ptr: an assertion.
    return offset % BUFFER_ALIGNMENT == 0


def _encode(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(
            f"the text has the lone surrogate U+{ord(text[error.start]):04X} at character "
            f"{error.start + 1}, which is no valid Unicode: read the file as UTF-8"
        ) from error
