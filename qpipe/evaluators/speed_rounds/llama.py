"""A GGUF file in this process, measured through llama.cpp's C API."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from qpipe.evaluators.speed_rounds.settings import Sample, SpeedSettings
from qpipe.llamacpp.batch import Batch
from qpipe.llamacpp.c_api import LLAMA_VERSION, WHEEL, WHEEL_VERSION
from qpipe.llamacpp.context import ContextOptions, LlamaContext
from qpipe.llamacpp.model import Model

# llama-bench's default --batch-size.
_BATCH_TOKENS = 2048


class LlamaCppModel:
    """See `settings.MeasurableModel`.

    Raises EngineMissingError, CheckpointError (the file), StageError (no room for the context).
    """

    version = f"llama.cpp {LLAMA_VERSION} ({WHEEL} {WHEEL_VERSION})"
    arithmetic: None = None

    def __init__(self, path: Path, settings: SpeedSettings) -> None:
        self._settings = settings
        self._model = Model(path)
        self._context = LlamaContext(
            self._model,
            ContextOptions(
                n_ctx=max(settings.n_prompt, settings.n_gen),
                threads=settings.threads,
                n_seq=settings.batch_size,
                n_batch=_BATCH_TOKENS,
                flash_attention=settings.flash_attention,
                type_k=settings.type_k,
                type_v=settings.type_v,
            ),
        )
        draw = np.random.default_rng(0)
        count = max(settings.n_prompt, settings.n_gen)
        vocabulary = self._model.vocab.n_tokens
        self._tokens = draw.integers(0, vocabulary, (settings.batch_size, count), dtype=np.int32)

    def measure(self) -> Sample:
        """One round."""
        count = self._settings.batch_size
        self._context.clear()
        started = time.perf_counter()
        self._read(self._settings.n_prompt)
        read = time.perf_counter() - started
        self._context.clear()
        started = time.perf_counter()
        for position in range(self._settings.n_gen):
            self._decode(np.arange(position, position + 1))
        wrote = time.perf_counter() - started
        return Sample(
            pp=count * self._settings.n_prompt / read,
            tg=count * self._settings.n_gen / wrote,
            ttft=read,
        )

    def _read(self, length: int) -> None:
        """The prompts, in batches; at the end the token after each is known."""
        step = max(1, _BATCH_TOKENS // self._settings.batch_size)
        for at in range(0, length, step):
            self._decode(np.arange(at, min(length, at + step)))

    def _decode(self, positions: np.typing.NDArray[np.int64]) -> None:
        n_seq = self._settings.batch_size
        last = np.zeros(len(positions))
        last[-1] = 1
        batch = Batch(
            self._tokens[:, positions].ravel(),
            positions=np.tile(positions, n_seq),
            sequences=np.repeat(np.arange(n_seq), len(positions)),
            outputs=np.tile(last, n_seq),
        )
        self._context.decode(batch).argmax(axis=1)

    def vram(self) -> int | None:
        """Everything is computed on the CPU."""
        return None

    def close(self) -> None:
        """Free context and model."""
        self._context.close()
        self._model.close()
