"""Perplexity of a GGUF file by llama-server from PATH, which uses a GPU where it was built for one.

Any protocol will do: it is given token ids, and tells the log-probability of each that is scored
(`qpipe.llamacpp.server`). It decodes one token at a time, as when it serves.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from qpipe.errors import DataError, EngineMissingError
from qpipe.evaluators.common.backends import require_memory
from qpipe.evaluators.common.llama_programs import ProgramEvaluator, ProgramParams
from qpipe.evaluators.common.parameters import departing
from qpipe.evaluators.text.description import (
    about,
    measurement,
    scores_of,
    sums_of,
    write_measured,
)
from qpipe.results.measurement import Measurement
from qpipe.stages.base import ParamsModel, Work
from qpipe.stages.evaluator import only_file

if TYPE_CHECKING:
    from qpipe.evaluators.text.interfaces import Nll
    from qpipe.evaluators.text.windows import Tokenized, Windows
    from qpipe.llamacpp.server import Server

PROGRAM = "llama-server"


class ServerPerplexityParams(ProgramParams):
    """The stage in role ``tokens`` says what is measured, under which protocol."""

    metric: Literal["perplexity"] = "perplexity"
    backend: Literal["llama-server"] = Field(
        "llama-server", description="What computes: the program llama-server from PATH."
    )


class ServerPerplexity(ProgramEvaluator):
    """Perplexity by llama-server."""

    version = 1
    program = PROGRAM
    Params: ClassVar[ParamsModel] = ServerPerplexityParams

    def run(self, params: ServerPerplexityParams, work: Work) -> Measurement:
        """Raises EngineMissingError (no such program, or too old), DataError (windows longer than
        its context, logits that are no numbers), StageError (it fails)."""
        from qpipe.evaluators.text.windows import load

        if why := self.check():
            raise EngineMissingError(why)
        tokenized, file = load(work.inputs["tokens"]), only_file(work.inputs["model"])
        require_memory(file.stat().st_size, name=file.name)
        with _opened(file, tokenized, params, threads=work.threads) as (server, tool):
            started = time.perf_counter()
            nll = _measure(server, tokenized.windows, work)
            seconds = time.perf_counter() - started
        scores = [scores_of(tokenized, nll)]
        described = departing(about(tokenized, tool), params)
        write_measured(work.out, described, scores)
        sums_of(tokenized, nll).write(work.out)
        return measurement(described, scores, seconds, tokenized.windows.tokens.size / seconds)


@dataclass(frozen=True)
class _LlamaServer:
    """See `qpipe.evaluators.text.description.MeasuringTool`."""

    version: str
    n_ctx_train: int | None
    name: str = PROGRAM
    remarks: Sequence[str] = ()


@contextmanager
def _opened(
    file: Path, tokenized: Tokenized, params: ServerPerplexityParams, *, threads: int
) -> Iterator[tuple[Server, _LlamaServer]]:
    from qpipe.gguf.inspect import inspect
    from qpipe.llamacpp.model import Model
    from qpipe.llamacpp.server import serve, version

    with Model(file, vocab_only=True) as model:
        windows, trained = tokenized.windows, inspect(file)["context_length"]
        windows.require_within(model.vocab.n_tokens, model=f"this model ({PROGRAM})")
        _require_room(tokenized, trained)
        width = windows.tokens.shape[1]
        with serve(
            file, model.vocab, n_ctx=width, threads=threads, options=params.options
        ) as server:
            yield server, _LlamaServer(version(), trained)


def _require_room(tokenized: Tokenized, trained: int | None) -> None:
    """Raise DataError for windows that the program would cut: it gives a text no more room than
    the model was trained for (llama.cpp 0.6.0, "capping")."""
    width = tokenized.windows.tokens.shape[1]
    if trained is not None and width > trained:
        what = tokenized.about
        raise DataError(
            f"{PROGRAM} takes texts of at most the {trained} tokens that the model was trained "
            f"for, and windows of protocol {what.protocol} have {width}: set "
            f"evaluate.n_ctx={trained - (width - what.n_ctx)}, or evaluate.backend=llama.cpp"
        )


def _measure(server: Server, windows: Windows, work: Work) -> Nll:
    """The nll of each scored token, window after window."""
    import numpy as np

    count, width = windows.tokens.shape
    nll: list[float] = []
    for number, (tokens, (first, end)) in enumerate(
        zip(windows.tokens.tolist(), windows.spans.tolist(), strict=True), start=1
    ):
        scored = server.logprobs(tokens[: end + 1], first=first)
        nll += [-token.logprob for token in scored]
        work.progress(number * width, count * width, "tokens")
    return np.array(nll)
