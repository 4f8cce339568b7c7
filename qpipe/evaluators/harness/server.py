"""A GGUF file as a model of lm-eval, by llama-server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from qpipe.evaluators.harness.continuations import ContinuationRequest, ContinuationScore
from qpipe.evaluators.harness.generation import TextRequest
from qpipe.evaluators.harness.gguf_requests import GgufRequests
from qpipe.gguf.inspect import inspect
from qpipe.llamacpp.model import Model
from qpipe.llamacpp.server import Server, serve


class ServerLM(GgufRequests):
    """lm-eval's model interface on one GGUF file, by the program on PATH; a context manager.

    It is started for each kind of request, with a context for the longest. ``options`` are more of
    its options, ``date`` is the day that a chat template is told.
    """

    def __init__(
        self, path: Path, *, threads: int, options: Sequence[str | int], date: str | None = None
    ) -> None:
        """Raises EngineMissingError, CheckpointError (the file)."""
        super().__init__()
        self.model = Model(path, vocab_only=True)
        # A token less than the model was trained for: llama-server (llama.cpp 0.6.0) stops one
        # before its context is full.
        self.max_length = int(inspect(path)["context_length"]) - 1
        self._threads = threads
        self._options = options
        self.read_vocabulary(self.model, date=date)

    def _score(
        self,
        requests: Sequence[ContinuationRequest],
        keep: Callable[[int, ContinuationScore], None],
    ) -> None:
        if not requests:
            return
        inputs = [request.inputs(self.max_length) for request in requests]
        with self._served(1 + max(map(len, inputs))) as server:
            # In the order of their tokens: what two of them begin with is computed once.
            for number in sorted(range(len(requests)), key=lambda number: inputs[number]):
                given, wanted = inputs[number], requests[number].continuation
                scored = server.logprobs([*given, wanted[-1]], first=len(given) - len(wanted))
                logprob = sum(token.logprob for token in scored)
                keep(number, ContinuationScore(logprob, all(token.greedy for token in scored)))

    def _write(self, requests: Sequence[TextRequest], keep: Callable[[int, str], None]) -> None:
        longest = max(len(request.prompt) + request.limit for request in requests)
        with self._served(longest) as server:
            for number in sorted(range(len(requests)), key=lambda number: requests[number].prompt):
                one = requests[number]
                keep(number, server.write(one.prompt, limit=one.limit, stops=one.stops))

    def _served(self, n_ctx: int) -> AbstractContextManager[Server]:
        vocab = self.model.vocab
        return serve(
            self.model.path, vocab, n_ctx=n_ctx, threads=self._threads, options=self._options
        )

    def close(self) -> None:
        """Free the vocabulary."""
        self.model.close()
