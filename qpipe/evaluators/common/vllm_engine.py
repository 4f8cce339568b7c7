"""vLLM's process with one model loaded, and what is asked of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qpipe.core.key import Json
from qpipe.environments.environment import Environment
from qpipe.environments.served import ServedScript
from qpipe.evaluators.common import vllm_support
from qpipe.evaluators.common.vllm_environment import release
from qpipe.support.closable import Closable

LogitsArray = npt.NDArray[np.float32]

# Tokens of a block of vLLM's KV cache on a CPU; on a GPU fewer.
_BLOCK = 128
# Tokens that are kept for all sequences together, if one is no longer than that.
_KV_TOKENS = 1 << 13
# Tokens of one step at least: vLLM 0.32 else cuts a prompt into pieces.
_STEP = 2048
# vLLM's own settings: nothing is reported, one process, threads where the worker may be.
_VARIABLES = {
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_PLUGINS": "",
}


class VllmEngine(Closable):
    """vLLM's process with one model loaded; ``facts`` are what it says of how it computes.

    ``sequences`` of ``window`` tokens at most are computed together, all of them if they have to be
    ``at_once``; ``eager``: without torch.compile and CUDA graphs.
    """

    def __init__(
        self,
        folder: Path,
        environment: Environment,
        *,
        threads: int,
        window: int,
        sequences: int,
        eager: bool,
        at_once: bool,
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
                "kv_bytes": _kv_bytes(config, window, sequences, at_once=at_once),
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
    def arithmetic(self) -> Mapping[str, str]:
        """In what is computed and where, as `qpipe.results.arithmetic` reads it."""
        facts = self.facts
        told = {"device": facts["device"], "precision": facts["dtype"], "gpu": facts["gpu"]}
        told["kernel"] = ", ".join(facts["kernels"]) or None
        return {name: value for name, value in told.items() if value is not None}

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
        asked: dict[str, Json] = {
            "do": "score",
            "prompts": [[*p] for p in prompts],
            "first": [*first],
        }
        _, data = self._script.ask(asked)
        values = np.frombuffer(data, "<f8").reshape(-1, 2)
        counts = [len(prompt) - at for prompt, at in zip(prompts, first, strict=True)]
        return np.split(values, np.cumsum(counts)[:-1])

    def write(
        self, prompts: Sequence[Sequence[int]], most: Sequence[int], ends: Sequence[int]
    ) -> list[list[int]]:
        """Greedy continuations of at most so many tokens."""
        asked: dict[str, Json] = {
            "do": "write",
            "prompts": [[*p] for p in prompts],
            "most": [*most],
        }
        answer, _ = self._script.ask({**asked, "ends": [*ends]})
        return list(answer["tokens"])

    def time(self, n_prompt: int, n_gen: int) -> Mapping[str, float]:
        """Seconds: ``read``, until all sequences have their first token, and ``wrote``."""
        asked: dict[str, Json] = {"do": "time", "n_prompt": n_prompt, "n_gen": n_gen}
        return self._script.ask({**asked, "sequences": self.sequences})[0]

    def memory(self) -> Mapping[str, int | None]:
        """The most that it has taken, in bytes: ``rss``, and ``vram`` of a GPU."""
        return self._script.ask({"do": "memory"})[0]

    def close(self) -> None:
        """End the process."""
        self._script.close()


def _kv_bytes(config: Mapping[str, Any], window: int, sequences: int, *, at_once: bool) -> int:
    """Bytes for keys and values of sequences, in float32: of all ``at_once``, or of no more than
    `_KV_TOKENS` if that is more than one needs; vLLM lets the others wait."""
    text = vllm_support.text_config(config)
    heads = int(text.get("num_key_value_heads") or text["num_attention_heads"])
    size = int(text.get("head_dim") or text["hidden_size"] // text["num_attention_heads"])
    each = -(-window // _BLOCK)
    blocks = sequences * each
    if not at_once:
        blocks = max(each, min(blocks, _KV_TOKENS // _BLOCK))
    return max(
        64 << 20, 2 * int(text["num_hidden_layers"]) * heads * size * 4 * (blocks + 2) * _BLOCK
    )
