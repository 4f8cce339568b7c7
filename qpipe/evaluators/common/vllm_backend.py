"""Windows of tokens in, logits out: vLLM in its own environment as an evaluation backend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qpipe.environments.environment import Environment
from qpipe.environments.served import ServedScript
from qpipe.errors import DataError
from qpipe.evaluators.common import vllm_support
from qpipe.evaluators.common.vllm import release
from qpipe.hf.tokenizer import TokenArray, Tokenizer
from qpipe.support.closable import Closable

LogitsArray = npt.NDArray[np.float32]

# Tokens of a block of vLLM's KV cache on a CPU; on a GPU fewer.
_BLOCK = 128
# Tokens of one step at least: vLLM 0.32 else cuts a prompt into pieces.
_STEP = 2048
# Windows whose values are kept together.
_TOGETHER_TOKENS = 2048
# vLLM's own settings: nothing is reported, one process, threads where the worker may be.
_VARIABLES = {
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_PLUGINS": "",
}


class VllmBackend(Closable):
    """A checkpoint folder; a context manager. The engine starts once it is known how long a
    sequence is, since its KV cache is made for that."""

    name = "vllm"

    def __init__(self, folder: Path, environment: Environment, *, threads: int) -> None:
        """Raises CheckpointError for what vLLM does not load."""
        self.folder, self._environment, self._threads = folder, environment, threads
        vllm_support.refuse(folder, on_cpu=not environment.cuda)
        self._config, _ = vllm_support.read(folder)
        self._engine: Engine | None = None
        text = vllm_support.text_config(self._config)
        self.n_vocab: int = text["vocab_size"]
        self.n_ctx_train: int | None = text.get("max_position_embeddings")

    def engine(self, window: int, *, sequences: int = 1, eager: bool = True) -> Engine:
        """The engine for sequences of so many tokens, so many at once; started anew for others."""
        if self._engine is not None and not self._engine.fits(window, sequences):
            self.close()
        if self._engine is None:
            self._engine = Engine(
                self.folder,
                self._environment,
                threads=self._threads,
                window=window,
                sequences=sequences,
                eager=eager,
            )
        return self._engine

    @property
    def version(self) -> str:
        """Versions of vLLM and torch, and what was computed in, where and by which kernels."""
        engine = self._engine or self.engine(min(self.n_ctx_train or _STEP, _STEP))
        return engine.version

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
        # One more than a window: vLLM 0.32 wants room for the token that it draws.
        engine = self.engine(min(n_ctx + 1, self.n_ctx_train or n_ctx + 1))
        for number in range(n_windows):
            yield number, first, engine.logits(windows[number].tolist(), first=first)

    def close(self) -> None:
        """End the engine's process, and let its memory go."""
        if self._engine is not None:
            self._engine.close()
        self._engine = None


class Engine(Closable):
    """vLLM's process with one model loaded; ``facts`` are what it says of how it computes."""

    def __init__(
        self,
        folder: Path,
        environment: Environment,
        *,
        threads: int,
        window: int,
        sequences: int,
        eager: bool,
    ) -> None:
        config, _ = vllm_support.read(folder)
        self.folder, self.window, self.sequences = folder, window, sequences
        self._environment = environment
        dtype = vllm_support.dtype(folder, on_cpu=not environment.cuda)
        # TorchDynamo compiles parts of vLLM's sampling also where nothing is to be compiled, 20 s.
        plainly = {"TORCHDYNAMO_DISABLE": "1"} if eager else {}
        self._script = ServedScript(
            environment,
            {
                "model": str(folder),
                "dtype": dtype,
                "window": window,
                "sequences": sequences,
                "batch": max(_STEP, window * min(sequences, 4)),
                "kv_bytes": _kv_bytes(config, window, sequences),
                "eager": eager,
            },
            threads=threads,
            more={**_VARIABLES, **plainly},
        )
        self.facts: dict[str, Any] = self._script.ask({"do": "facts"})[0]

    def fits(self, window: int, sequences: int) -> bool:
        """Return whether it has room for such sequences."""
        return window <= self.window and sequences <= self.sequences

    @property
    def version(self) -> str:
        """vLLM's version, and in brackets what it computes in and with."""
        ready, facts = self._environment.ready() or {}, self.facts
        words = [f"torch {ready.get('torch')}", facts["dtype"], facts["device"]]
        words += [*facts["attention"], *facts["kernels"]]
        return f"{release(self._environment)} ({', '.join(words)})"

    @property
    def command(self) -> str:
        """The command that serves the checkpoint in FOLDER as it was measured."""
        return f"vllm serve FOLDER --dtype {self.facts['dtype']}"

    def logits(self, tokens: Sequence[int], *, first: int) -> LogitsArray:
        """[positions, vocabulary] from position ``first`` of a sequence to its last but one."""
        answer, data = self._script.ask({"do": "logits", "tokens": [*tokens], "first": first})
        return np.frombuffer(data, np.float32).reshape(answer["shape"])

    def score(
        self, prompts: Sequence[Sequence[int]], first: Sequence[int]
    ) -> list[npt.NDArray[np.float64]]:
        """[tokens, 2] of each prompt from the token ``first`` on: log-probability and rank."""
        asked = {"do": "score", "prompts": [[*p] for p in prompts], "first": [*first]}
        _, data = self._script.ask(asked)
        values = np.frombuffer(data, "<f8").reshape(-1, 2)
        counts = [len(prompt) - at for prompt, at in zip(prompts, first, strict=True)]
        return np.split(values, np.cumsum(counts)[:-1])

    def write(
        self, prompts: Sequence[Sequence[int]], most: Sequence[int], ends: Sequence[int]
    ) -> list[list[int]]:
        """Greedy continuations of at most so many tokens."""
        asked = {"do": "write", "prompts": [[*p] for p in prompts], "most": [*most]}
        answer, _ = self._script.ask({**asked, "ends": [*ends]})
        return list(answer["tokens"])

    def time(self, n_prompt: int, n_gen: int) -> Mapping[str, float]:
        """Seconds: ``read``, until all sequences have their first token, and ``wrote``."""
        asked = {"do": "time", "n_prompt": n_prompt, "n_gen": n_gen}
        return self._script.ask({**asked, "sequences": self.sequences})[0]

    def close(self) -> None:
        """End the process."""
        self._script.close()


def _kv_bytes(config: Mapping[str, Any], window: int, sequences: int) -> int:
    """Room for keys and values of all sequences at once, in float32, and two blocks more."""
    text = vllm_support.text_config(config)
    heads = int(text.get("num_key_value_heads") or text["num_attention_heads"])
    size = int(text.get("head_dim") or text["hidden_size"] // text["num_attention_heads"])
    blocks = sequences * -(-window // _BLOCK) + 2
    return max(64 << 20, 2 * int(text["num_hidden_layers"]) * heads * size * 4 * blocks * _BLOCK)
