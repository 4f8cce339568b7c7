"""A GGUF file as a model of lm-eval, by llama.cpp in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from qpipe.errors import CheckpointError, DataError
from qpipe.evaluators.harness import greedy
from qpipe.evaluators.harness.continuations import Asked, Scored, score
from qpipe.evaluators.harness.generation import Wanted, Writer
from qpipe.evaluators.harness.words import GgufWords
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
# lm-eval's own (HFLM.max_gen_toks).
_MOST_NEW_TOKENS = 256


class GgufLM(GgufWords, TemplateLM, Closable):  # type: ignore[misc]  # lm_eval is untyped
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
        self.read_words(self.model, date=date)

    def _loglikelihood_tokens(
        self, requests: Sequence[Any], disable_tqdm: bool = False, **_: Any
    ) -> list[tuple[float, bool]]:
        asked = [Asked(tuple(context), tuple(rest)) for _, context, rest in requests]
        for (texts, _, _), request in zip(requests, asked, strict=True):
            if not 0 < len(request.continuation) <= self.max_length:
                raise DataError(
                    f"the continuation {texts[1]!r} has {len(request.continuation)} tokens; the "
                    f"model's context has room for 1 to {self.max_length}"
                )
        found: list[tuple[float, bool]] = [(0.0, False)] * len(asked)

        def keep(number: int, result: Scored) -> None:
            found[number] = result.logprob, result.greedy
            self.cache_hook.add_partial("loglikelihood", requests[number][0], found[number])

        self._score(asked, keep)
        return found

    def loglikelihood_rolling(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[float]:
        """Log-probabilities of whole texts, in windows of the model's context."""
        asked: list[Asked] = []
        owners: list[int] = []
        for number, (text,) in enumerate(request.args for request in requests):
            for window in get_rolling_token_windows(
                token_list=self.tok_encode(text),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length,
                context_len=1,
            ):
                context, rest = make_disjoint_window(window)
                asked.append(Asked(tuple(context), tuple(rest)))
                owners.append(number)
        totals = [0.0] * len(requests)
        missing = [owners.count(number) for number in range(len(requests))]

        def keep(window: int, result: Scored) -> None:
            number = owners[window]
            totals[number] += result.logprob
            missing[number] -= 1
            if not missing[number]:
                args = requests[number].args
                self.cache_hook.add_partial("loglikelihood_rolling", args, totals[number])

        self._score(asked, keep)
        return totals

    def _score(self, asked: Sequence[Asked], keep: Callable[[int, Scored], None]) -> None:
        if not asked:
            return
        longest = max(len(request.given(self.max_length)) for request in asked)
        with self._context(cells(longest, batch=_BATCH_TOKENS), _SEQUENCES) as context:
            prefixes = Prefixes(context, batch=_BATCH_TOKENS)
            for batch in score(prefixes, asked, longest=self.max_length):
                for number, result in batch:
                    keep(number, result)

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Greedy texts. Raises DataError for a task that asks for random ones."""
        wanted = [self._wanted(*request.args) for request in requests]
        texts = [""] * len(requests)
        if not wanted:
            return texts
        longest = max(len(one.prompt) for one in wanted)
        each = longest + max(one.limit for one in wanted)
        n_sequences = 1 + min(len(wanted), _SEQUENCES - 1, max(1, _GENERATION_CELLS // each))
        n_cells = cells(longest, batch=_BATCH_TOKENS) + (n_sequences - 1) * each
        with self._context(n_cells, n_sequences) as context:
            prefixes = Prefixes(context, batch=_BATCH_TOKENS)
            vocab = self.model.vocab
            writer = Writer(prefixes, vocab.detokenize, vocab.ends)
            for number, text in writer.write(wanted):
                texts[number] = text
                self.cache_hook.add_partial("generate_until", requests[number].args, text)
        return texts

    def _wanted(self, context: str, given: dict[str, Any]) -> Wanted:
        settings = normalize_gen_kwargs(given, _MOST_NEW_TOKENS)
        if settings["do_sample"]:
            raise DataError(f"random texts were asked for ({given}): this model writes greedily")
        greedy.refuse(given)
        limit = int(settings["max_gen_toks"])
        if limit >= self.max_length:
            raise DataError(
                f"the task asks for up to {limit} new tokens, and the model's context has "
                f"{self.max_length}: set evaluate.gen_kwargs to {{max_gen_toks: …}}, fewer"
            )
        until = settings.get("until") or []
        stops = [until] if isinstance(until, str) else until
        prompt = tuple(self.tok_encode(context)[-(self.max_length - limit) :])
        return Wanted(prompt, limit, tuple(stop for stop in stops if stop))

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
