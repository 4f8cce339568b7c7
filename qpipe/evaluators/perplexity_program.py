"""Perplexity of a GGUF file by llama-perplexity from PATH, on the same token ids.

It tokenizes the text itself, so the ids that it evaluated are read back from what it writes of its
logits (to a pipe, not a disk) and compared with those of the comparison.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from qpipe.errors import DataError, EngineMissingError, RecipeError, StageError
from qpipe.evaluators.common.backends import require_memory
from qpipe.evaluators.common.llama_programs import ProgramEvaluator, ProgramParams
from qpipe.evaluators.common.parameters import departing
from qpipe.evaluators.text.description import about, measurement, write_measured
from qpipe.evaluators.text.protocols import LEAST
from qpipe.machine import program, tools
from qpipe.results.measurement import Measurement
from qpipe.results.scores import Score, score
from qpipe.results.windows import WindowSums
from qpipe.stages.base import ParamsModel, Work
from qpipe.stages.evaluator import only_file

if TYPE_CHECKING:
    from qpipe.evaluators.text.interfaces import Tokens
    from qpipe.evaluators.text.windows import Tokenized

PROGRAM = "llama-perplexity"
_PROTOCOL = "llamacpp-512"
# Its default --batch-size, for windows that do not fit into it.
_BATCH_TOKENS = 2048
_READ = 1 << 20
# In llama.cpp 0.6.0 a thread writes the log, and the program's end does not wait for that
# (common/log.cpp, `common_log_main`): on a busy machine the last lines may be lost.
_ATTEMPTS = 3


class ProgramPerplexityParams(ProgramParams):
    """The stage in role ``tokens`` says what is measured; llamacpp-512 is what the program has."""

    metric: Literal["perplexity"] = "perplexity"
    backend: Literal["llama-perplexity"] = Field(
        "llama-perplexity", description="What computes: the program llama-perplexity from PATH."
    )


class ProgramPerplexity(ProgramEvaluator):
    """Perplexity by llama-perplexity, which uses a GPU where it was built for one."""

    version = 3
    program = PROGRAM
    Params: ClassVar[ParamsModel] = ProgramPerplexityParams

    def run(self, params: ProgramPerplexityParams, work: Work) -> Measurement:
        """Raises EngineMissingError, RecipeError (another protocol), DataError (tokens that the
        program makes otherwise, a text of one window), StageError (it fails, or says nothing)."""
        from qpipe.evaluators.text.windows import load
        from qpipe.gguf.inspect import inspect

        if why := self.check():
            raise EngineMissingError(why)
        tokenized, model = load(work.inputs["tokens"]), only_file(work.inputs["model"])
        _require_its_protocol(tokenized)
        require_memory(model.stat().st_size, name=model.name)
        trained = inspect(model)["context_length"]
        started = time.perf_counter()
        for _ in range(_ATTEMPTS):
            output = _ProgramOutput(
                work, windows=len(tokenized.windows.tokens), width=tokenized.about.n_ctx
            )
            _require_same(_run(model, params, work, output), tokenized)
            if output.whole:
                break
        seconds = time.perf_counter() - started
        scores = [output.score()]
        described = departing(about(tokenized, _LlamaPerplexity(version(), trained)), params)
        write_measured(work.out, described, scores)
        output.sums(tokenized).write(work.out)
        speed = tokenized.windows.tokens.size / output.computing()
        return measurement(described, scores, seconds, speed)


def _run(
    model: Path, params: ProgramPerplexityParams, work: Work, output: _ProgramOutput
) -> Tokens:
    """The token ids that the program evaluated."""
    from qpipe.evaluators.text.windows import TEXT, load

    tokens = work.inputs["tokens"]
    with TemporaryDirectory(prefix="qpipe-") as folder, _Ids(Path(folder) / "logits") as ids:
        text = Path(folder) / "text.txt"
        # llama.cpp 0.6.0 drops one final newline of a file (common/arg.cpp, -f); the prepared text
        # has all that it should.
        text.write_bytes((tokens / TEXT).read_bytes() + b"\n")
        options = _options(params, load(tokens), threads=work.threads)
        command = [PROGRAM, "-m", model, "-f", text, *options, "--save-all-logits", ids.path]
        program.run(command, name=f"{PROGRAM} {version()}", on_line=output)
    return ids.token_ids()


def version() -> str:
    """The version that the program on PATH prints; ``missing`` or ``unknown`` if it prints none."""
    return tools.find(PROGRAM).version


@dataclass(frozen=True)
class _LlamaPerplexity:
    """See `qpipe.evaluators.text.description.MeasuringTool`."""

    version: str
    n_ctx_train: int | None
    name: str = PROGRAM
    remarks: Sequence[str] = ()


def _options(
    params: ProgramPerplexityParams, tokenized: Tokenized, *, threads: int
) -> Iterator[str | int]:
    from qpipe.llamacpp.lane import filling

    n_ctx = tokenized.about.n_ctx
    yield from ("-c", n_ctx, "--chunks", len(tokenized.windows.tokens))
    # As many windows together as in the worker's process: in llama.cpp 0.6.0 the logits of one
    # depend on that.
    yield from ("-b", min(filling(n_ctx) * n_ctx, _BATCH_TOKENS))
    yield from ("-t", threads, "--ppl-output-type", 1)  # 1: a line for each chunk
    yield from params.options


def _require_its_protocol(tokenized: Tokenized) -> None:
    what = tokenized.about
    if what.protocol.split()[0] != _PROTOCOL or what.protocol_version != 1:
        raise RecipeError(
            f"evaluate.backend: {PROGRAM} measures under {_PROTOCOL} alone, and the tokens are of "
            f"{what.protocol}: set evaluate.protocol={_PROTOCOL}, or evaluate.backend=llama.cpp"
        )
    if what.text_tokens < 2 * what.n_ctx:
        less = what.text_tokens // 2
        shorter = f"evaluate.n_ctx={less} or less, or " if less >= LEAST else ""
        raise DataError(
            f"{PROGRAM} takes no text of fewer than two windows, and {what.text} has "
            f"{what.text_tokens} tokens for windows of {what.n_ctx}: give a longer text, or set "
            f"{shorter}evaluate.backend=llama.cpp"
        )


def _require_same(ids: Tokens, tokenized: Tokenized) -> None:
    """Raise DataError unless these are the windows."""
    import numpy as np

    # The first token of each is not compared: the program (llama.cpp 0.6.0) writes the text's own,
    # in whose place the model sees BOS.

    windows = tokenized.windows.tokens
    if ids.shape != windows.shape or not np.array_equal(ids[:, 1:], windows[:, 1:]):
        raise DataError(
            f"{PROGRAM} {version()} makes other tokens of {tokenized.about.text} than those that "
            "this comparison is on: its figure would not compare; use evaluate.backend=llama.cpp"
        )


class _ProgramOutput:
    """The program's output: a line for each window that is done, with what is found so far.

    The last is the figure: mean nll and its standard error. The line after it, with the perplexity
    in four decimals, says the same in fewer digits.
    """

    def __init__(self, work: Work, *, windows: int, width: int) -> None:
        self._work, self._windows, self._width = work, windows, width
        self._started = self._ended = 0.0
        self._means: list[float] = []
        self._stderr = math.nan

    def __call__(self, line: str) -> None:
        """One line."""
        if "calculating perplexity over" in line:
            self._started = time.perf_counter()
        elif match := re.fullmatch(r"\s*\d+\s+\S+\s+(-?[\d.naif]+)\s+(-?[\d.naif]+)\s*", line):
            self._ended = time.perf_counter()
            self._means.append(float(match[1]))
            self._stderr = float(match[2])
            self._work.progress(
                len(self._means) * self._width, self._windows * self._width, "tokens"
            )

    @property
    def whole(self) -> bool:
        """True if the program told of all windows."""
        return len(self._means) == self._windows

    def score(self) -> Score:
        """Perplexity and its standard error. Raises StageError if lines were lost, DataError for
        what is no number."""
        if not self.whole:
            raise StageError(
                f"{PROGRAM} {version()} ended well and printed {len(self._means)} of "
                f"{self._windows} windows, lines that a busy machine may lose: run again, or use "
                "evaluate.backend=llama.cpp"
            )
        nll = self._means[-1]
        if not math.isfinite(nll + self._stderr):
            raise DataError(
                f"{PROGRAM} {version()} found a mean log-likelihood of {-nll}: the model is "
                "damaged, or its quantization overflowed; evaluate.backend=llama.cpp says where"
            )
        ppl = math.exp(nll)
        return score("ppl", ppl, stderr=ppl * self._stderr)

    def sums(self, tokenized: Tokenized) -> WindowSums:
        """The sum of each window's nll: what its line's mean, of all windows so far, moved by.

        Those have six decimals, so the sum of window k is off by k n 1e-6 at most, its n tokens'.
        """
        totals = [number * mean for number, mean in enumerate(self._means, start=1)]
        scored = tokenized.windows.scored
        count = scored // len(totals)
        sums = [count * (one - before) for before, one in zip([0.0, *totals], totals, strict=False)]
        return WindowSums(sums, [count] * len(totals), tokenized.about.unit, scored)

    def computing(self) -> float:
        """Seconds from the first window to the last."""
        return self._ended - self._started


@dataclass
class _Ids:
    """A pipe for the program's file of logits; of it the token ids at its head are kept.

    The head is ``_logits_``, n_ctx, n_vocab, n_chunk as int32, and n_chunk · n_ctx ids
    (`perplexity` in llama.cpp's tools/perplexity/perplexity.cpp).
    """

    path: Path
    _head: bytes = b""
    _reader: threading.Thread = field(init=False)

    def __enter__(self) -> _Ids:
        os.mkfifo(self.path)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *failure: object) -> None:
        while self._reader.is_alive():
            # A program that never opened its end leaves the reader waiting for one.
            with contextlib.suppress(OSError):
                os.close(os.open(self.path, os.O_WRONLY | os.O_NONBLOCK))
            self._reader.join(timeout=0.05)

    def _read(self) -> None:
        with self.path.open("rb") as file:
            start = file.read(20)
            n_ctx, n_chunk = _sizes(start)
            self._head = start + file.read(4 * n_ctx * n_chunk)
            while file.read(_READ):
                pass

    def token_ids(self) -> Tokens:
        """[chunks, n_ctx]; of no rows if the program wrote none."""
        import numpy as np

        n_ctx, n_chunk = _sizes(self._head)
        ids = np.frombuffer(self._head[20:], "<i4").astype(np.int32)
        whole = len(ids) == n_chunk * n_ctx
        return ids.reshape(n_chunk, n_ctx) if whole else np.empty((0, 0), np.int32)


def _sizes(head: bytes) -> tuple[int, int]:
    """n_ctx and n_chunk; zeros of another file."""
    if len(head) < 20 or head[:8] != b"_logits_":
        return 0, 0
    return int.from_bytes(head[8:12], "little"), int.from_bytes(head[16:20], "little")
