"""A GGUF file as a model of lm-eval, by llama.cpp in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from qpipe.errors import CheckpointError, DataError
from qpipe.evaluators.harness.continuations import ContinuationRequest, ContinuationScore, score
from qpipe.evaluators.harness.generation import TextRequest, Writer
from qpipe.evaluators.harness.prompts import GgufPrompts
from qpipe.evaluators.harness.settings import require_greedy
from qpipe.llamacpp.context import ContextOptions, LlamaContext
from qpipe.llamacpp.model import Model
from qpipe.llamacpp.prefixes import Prefixes, cells
from qpipe.support.closable import Closable

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

# Tokens that are new in one decode: with more, attention over all of them costs more than the
# larger matrix products save; one context's sequences; what all texts of a generation may hold.
_BATCH_TOKENS = 512
_SEQUENCES = 65
_GENERATION_CELLS = 16384
# That of lm-eval 0.4.13 (HFLM.max_gen_toks).
_MOST_NEW_TOKENS = 256


class GgufLM(GgufPrompts, TemplateLM, Closable):  # type: ignore[misc]  # lm_eval is untyped
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

    def _loglikelihood_tokens(
        self, requests: Sequence[Any], disable_tqdm: bool = False, **_: Any
    ) -> list[tuple[float, bool]]:
        continuations = [
            ContinuationRequest(tuple(context), tuple(rest)) for _, context, rest in requests
        ]
        for (texts, _, _), request in zip(requests, continuations, strict=True):
            if not 0 < len(request.continuation) <= self.max_length:
                raise DataError(
                    f"the continuation {texts[1]!r} has {len(request.continuation)} tokens; the "
                    f"model's context has room for 1 to {self.max_length}"
                )
        answers: list[tuple[float, bool]] = [(0.0, False)] * len(continuations)

        def keep(number: int, result: ContinuationScore) -> None:
            answers[number] = result.logprob, result.greedy
            self.cache_hook.add_partial("loglikelihood", requests[number][0], answers[number])

        self._score(continuations, keep)
        return answers

    def loglikelihood_rolling(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[float]:
        """Log-probabilities of whole texts, in windows of the model's context."""
        continuations: list[ContinuationRequest] = []
        owners: list[int] = []
        for number, (text,) in enumerate(request.args for request in requests):
            for window in get_rolling_token_windows(
                token_list=self.tok_encode(text),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length,
                context_len=1,
            ):
                context, rest = make_disjoint_window(window)
                continuations.append(ContinuationRequest(tuple(context), tuple(rest)))
                owners.append(number)
        totals = [0.0] * len(requests)
        missing = [owners.count(number) for number in range(len(requests))]

        def keep(window: int, result: ContinuationScore) -> None:
            number = owners[window]
            totals[number] += result.logprob
            missing[number] -= 1
            if not missing[number]:
                args = requests[number].args
                self.cache_hook.add_partial("loglikelihood_rolling", args, totals[number])

        self._score(continuations, keep)
        return totals

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

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Greedy texts. Raises DataError for a task that asks for random ones."""
        text_requests = [self._text_request(*request.args) for request in requests]
        texts = [""] * len(requests)
        if not text_requests:
            return texts
        longest = max(len(one.prompt) for one in text_requests)
        each = longest + max(one.limit for one in text_requests)
        n_sequences = 1 + min(len(text_requests), _SEQUENCES - 1, max(1, _GENERATION_CELLS // each))
        n_cells = cells(longest, batch=_BATCH_TOKENS) + (n_sequences - 1) * each
        with self._context(n_cells, n_sequences) as context:
            prefixes = Prefixes(context, batch=_BATCH_TOKENS)
            vocab = self.model.vocab
            writer = Writer(prefixes, vocab.detokenize, vocab.ends)
            for number, text in writer.write(text_requests):
                texts[number] = text
                self.cache_hook.add_partial("generate_until", requests[number].args, text)
        return texts

    def _text_request(self, context: str, gen_kwargs: dict[str, Any]) -> TextRequest:
        settings = normalize_gen_kwargs(gen_kwargs, _MOST_NEW_TOKENS)
        if settings["do_sample"]:
            raise DataError(
                f"random texts were asked for ({gen_kwargs}): this model writes greedily"
            )
        require_greedy(gen_kwargs)
        limit = int(settings["max_gen_toks"])
        if limit >= self.max_length:
            raise DataError(
                f"the task asks for up to {limit} new tokens, and the model's context has "
                f"{self.max_length}: set evaluate.gen_kwargs to {{max_gen_toks: …}}, fewer"
            )
        until = settings.get("until") or []
        stops = [until] if isinstance(until, str) else until
        prompt = tuple(self.tok_encode(context)[-(self.max_length - limit) :])
        return TextRequest(prompt, limit, tuple(stop for stop in stops if stop))

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
