"""A GGUF file as a model of lm-eval, by llama.cpp in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from qpipe.errors import CheckpointError
from qpipe.evaluators.harness.continuations import ContinuationRequest, ContinuationScore, score
from qpipe.evaluators.harness.generation import TextRequest, Writer
from qpipe.evaluators.harness.gguf_requests import GgufRequests
from qpipe.llamacpp.context import ContextOptions, LlamaContext
from qpipe.llamacpp.model import Model
from qpipe.llamacpp.prefixes import Prefixes, cells

# Tokens that are new in one decode: with more, attention over all of them costs more than the
# larger matrix products save; one context's sequences; what all texts of a generation may hold.
_BATCH_TOKENS = 512
_SEQUENCES = 65
_GENERATION_CELLS = 16384


class GgufLM(GgufRequests):
    """lm-eval's model interface on one GGUF file; a context manager.

    ``kv`` are the types of the KV cache and flash attention, as in ContextOptions. ``max_length``
    is the context that the model was trained for, as HFLM has it, unless given. ``date`` is the day
    that a chat template is told.
    """

    def __init__(
        self,
        path: Path,
        *,
        threads: int,
        max_length: int | None = None,
        date: str | None = None,
        **kv: Any,
    ) -> None:
        """Raises EngineMissingError, CheckpointError (the file)."""
        super().__init__()
        self.model = Model(path)
        if not self.model.keeps_every_token:
            self.model.close()
            raise CheckpointError(
                f"{path.name}: a recurrent model's memory cannot be shared between prompts; "
                "evaluate its checkpoint with transformers (evaluate.backend=transformers)"
            )
        self.max_length = max_length or self.model.n_ctx_train
        self._threads = threads
        self._kv = kv
        self.read_vocabulary(self.model, date=date)

    def _score(
        self,
        requests: Sequence[ContinuationRequest],
        keep: Callable[[int, ContinuationScore], None],
    ) -> None:
        if not requests:
            return
        longest = max(len(request.inputs(self.max_length)) for request in requests)
        with self._context(cells(longest, batch=_BATCH_TOKENS), _SEQUENCES) as context:
            prefixes = Prefixes(context, batch=_BATCH_TOKENS)
            for batch in score(prefixes, requests, longest=self.max_length):
                for number, result in batch:
                    keep(number, result)

    def _write(self, requests: Sequence[TextRequest], keep: Callable[[int, str], None]) -> None:
        longest = max(len(one.prompt) for one in requests)
        each = longest + max(one.limit for one in requests)
        n_sequences = 1 + min(len(requests), _SEQUENCES - 1, max(1, _GENERATION_CELLS // each))
        n_cells = cells(longest, batch=_BATCH_TOKENS) + (n_sequences - 1) * each
        with self._context(n_cells, n_sequences) as context:
            prefixes = Prefixes(context, batch=_BATCH_TOKENS)
            vocab = self.model.vocab
            for number, text in Writer(prefixes, vocab.detokenize, vocab.ends).write(requests):
                keep(number, text)

    def _context(self, n_cells: int, n_sequences: int) -> LlamaContext:
        options = ContextOptions(
            n_ctx=n_cells,
            threads=self._threads,
            n_seq=n_sequences,
            n_batch=_BATCH_TOKENS,
            n_ubatch=_BATCH_TOKENS,
            shared=True,
            **self._kv,
        )
        return LlamaContext(self.model, options)

    def close(self) -> None:
        """Free the model."""
        self.model.close()
