"""Windows of tokens in, logits out: llama.cpp as an evaluation backend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from qpipe.llamacpp.c_api import LLAMA_VERSION, WHEEL, WHEEL_VERSION
from qpipe.llamacpp.context import LogitsArray
from qpipe.llamacpp.lane import LlamaCppLane, shares, together
from qpipe.llamacpp.model import Model, TokenArray
from qpipe.support.closable import Closable


class LlamaCppTokenizer(Closable):
    """The tokenizer in a GGUF file; a context manager.

    ``bos`` is the token that the vocabulary puts in front of a text, None if it puts none;
    ``prefix`` what a first token is predicted from: BOS, or EOS in a vocabulary without.
    """

    name = "llama.cpp"
    version = f"{LLAMA_VERSION} ({WHEEL} {WHEEL_VERSION})"

    def __init__(
        self,
        path: Path,
        *,
        n_gpu_layers: int = 0,
        vocab_only: bool = True,
        writable: bool = False,
    ) -> None:
        self.model = Model(
            path, n_gpu_layers=n_gpu_layers, vocab_only=vocab_only, writable=writable
        )
        vocab = self.model.vocab
        self.n_vocab = vocab.n_tokens
        self.bos = vocab.bos if vocab.add_bos else None
        self.prefix = vocab.bos if vocab.bos >= 0 else vocab.eos

    def tokenize(self, text: str) -> TokenArray:
        """Token ids of ``text`` alone: no BOS, no EOS, control tokens read as plain text."""
        return self.model.vocab.tokenize(text)

    def close(self) -> None:
        """Free the model."""
        self.model.close()


class LlamaCppBackend(LlamaCppTokenizer):
    """A GGUF file as a source of tokens and logits; a context manager.

    ``kv`` are the types of the KV cache and flash attention, as in ContextOptions; of a
    ``writable`` model the weights may be replaced (`qpipe.llamacpp.weights`).
    """

    remarks: Sequence[str] = ()
    arithmetic: None = None

    def __init__(
        self,
        path: Path,
        *,
        threads: int,
        n_gpu_layers: int = 0,
        kv: Mapping[str, Any] | None = None,
        writable: bool = False,
    ) -> None:
        super().__init__(path, n_gpu_layers=n_gpu_layers, vocab_only=False, writable=writable)
        self._kv = kv or {}
        self.threads = threads
        self.n_ctx_train = self.model.n_ctx_train
        self._lanes: list[LlamaCppLane] = []

    def together(self, width: int, rows: int) -> int:
        """The number of windows of ``width`` tokens decoded together, ``rows`` logits of each."""
        return together(width, rows, n_vocab=self.n_vocab)

    def lanes(self, width: int, rows: int, *, most: int) -> Sequence[LlamaCppLane]:
        """Lanes that compute groups of such windows at the same time, ``most`` at most, the threads
        shared out among them. Good until lanes or logits are asked for again.
        """
        if self.model.n_gpu_layers:
            most = 1
        return self._with(shares(self.threads, width, rows, n_vocab=self.n_vocab, most=most))

    def logits(self, windows: TokenArray, *, first: int) -> Iterator[tuple[int, int, LogitsArray]]:
        """See `LlamaCppLane.logits`: by all threads."""
        (lane,) = self._with([self.threads])
        yield from lane.logits(windows, first=first)

    def _with(self, threads: Sequence[int]) -> Sequence[LlamaCppLane]:
        """Lanes with so many threads each: those of the last call if they are the same."""
        if [lane.threads for lane in self._lanes] != list(threads):
            self._free()
            self._lanes = [
                LlamaCppLane(self.model, threads=share, kv=self._kv) for share in threads
            ]
        return self._lanes

    def _free(self) -> None:
        for lane in self._lanes:
            lane.close()

    def close(self) -> None:
        """Free the contexts and the model."""
        self._free()
        super().close()
