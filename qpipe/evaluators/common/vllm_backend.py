"""Windows of tokens in, logits out: vLLM in its own environment as an evaluation backend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from qpipe.environments.environment import Environment
from qpipe.errors import DataError
from qpipe.evaluators.common import vllm_support
from qpipe.evaluators.common.vllm_engine import LogitsArray, VllmEngine
from qpipe.evaluators.common.vllm_environment import release
from qpipe.hf.tokenizer import TokenArray, Tokenizer
from qpipe.support.closable import Closable

# Tokens of a sequence, where nobody said how long one is.
_UNSAID = 2048
# Windows whose values are kept together.
_TOGETHER_TOKENS = 2048


class VllmBackend(Closable):
    """A checkpoint folder; a context manager. The engine starts once it is known how long a
    sequence is, since its KV cache is made for that."""

    name = "vllm"

    def __init__(self, folder: Path, environment: Environment, *, threads: int) -> None:
        """Raises CheckpointError for what vLLM does not load."""
        self.folder, self._environment, self._threads = folder, environment, threads
        vllm_support.refuse(folder, on_cpu=not environment.cuda)
        self._config, _ = vllm_support.read(folder)
        self._engine: VllmEngine | None = None
        text = vllm_support.text_config(self._config)
        self.n_vocab: int = text["vocab_size"]
        self.n_ctx_train: int | None = text.get("max_position_embeddings")

    def engine(self, window: int, *, sequences: int = 1) -> VllmEngine:
        """The engine for sequences of so many tokens, so many at once; started anew for others."""
        if self._engine is not None and not self._engine.fits(window, sequences):
            self.close()
        if self._engine is None:
            self._engine = VllmEngine(
                self.folder,
                self._environment,
                threads=self._threads,
                window=window,
                sequences=sequences,
                eager=True,
                at_once=False,
            )
        return self._engine

    @property
    def version(self) -> str:
        """Versions of vLLM and torch, and what was computed in, where and by which kernels."""
        return self._any_engine().version

    @property
    def arithmetic(self) -> Mapping[str, str]:
        """In what was computed and where, as `qpipe.results.arithmetic` reads it."""
        return self._any_engine().arithmetic

    def _any_engine(self) -> VllmEngine:
        return self._engine or self.engine(min(self.n_ctx_train or _UNSAID, _UNSAID))

    @property
    def remarks(self) -> Sequence[str]:
        """A note on a precision that is not that of plain checkpoints, and how it is served."""
        engine = self._engine
        if engine is None:
            return ()
        notes = [f"loads in vLLM {release(self._environment)}: {engine.command}"]
        if not self._environment.cuda and engine.facts["dtype"] != "float32":
            notes.append(
                f"computed in {engine.facts['dtype']}, where plain checkpoints are in float32: "
                "vLLM's kernel for these weights on a CPU knows no other"
            )
        return notes

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return Tokenizer(self.folder)

    @property
    def bos(self) -> int | None:
        """The token that the tokenizer puts in front of a text, None if it puts none."""
        return self._tokenizer.bos

    @property
    def prefix(self) -> int:
        """The token that a first token is predicted from: BOS, or EOS in a vocabulary without."""
        return self._tokenizer.prefix

    def tokenize(self, text: str) -> TokenArray:
        """Token ids of ``text`` alone."""
        return self._tokenizer.tokenize(text)

    def together(self, width: int, rows: int) -> int:
        """The number of windows whose values are kept together; each is computed alone."""
        return max(1, _TOGETHER_TOKENS // width)

    def lanes(self, width: int, rows: int, *, most: int) -> Sequence[VllmBackend]:
        """Itself: vLLM has one engine."""
        return [self]

    def logits(self, windows: TokenArray, *, first: int) -> Iterator[tuple[int, int, LogitsArray]]:
        """A block for each window of ``windows`` [n_windows, n_ctx]: (window, first, logits).

        Raises DataError for windows that the model has no positions for.
        """
        n_windows, n_ctx = windows.shape
        if self.n_ctx_train is not None and n_ctx > self.n_ctx_train:
            raise DataError(
                f"windows of {n_ctx} tokens exceed the {self.n_ctx_train} positions that the model "
                f"was trained for, and vLLM serves no more: set evaluate.n_ctx={self.n_ctx_train}"
            )
        engine = self.engine(n_ctx)
        for number in range(n_windows):
            yield number, first, engine.logits(windows[number].tolist(), first=first)

    def close(self) -> None:
        """End the engine's process, and let its memory go."""
        if self._engine is not None:
            self._engine.close()
        self._engine = None
