"""Requests of lm-eval as tokens; a subclass has what computes them."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from qpipe.errors import DataError
from qpipe.evaluators.harness.continuations import ContinuationRequest, ContinuationScore
from qpipe.evaluators.harness.generation import TextRequest
from qpipe.evaluators.harness.settings import require_greedy
from qpipe.support.closable import Closable

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

# That of lm-eval 0.4.13 (HFLM.max_gen_toks).
_MOST_NEW_TOKENS = 256


class TokenRequests(TemplateLM, Closable):  # type: ignore[misc]  # lm_eval is untyped
    """lm-eval's model interface by token ids; a context manager.

    A subclass sets ``max_length``, the tokens that the model's context holds.
    """

    max_length: int

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

    @abc.abstractmethod
    def _score(
        self,
        requests: Sequence[ContinuationRequest],
        keep: Callable[[int, ContinuationScore], None],
    ) -> None:
        """Tell ``keep`` the number of each request, and its score, in any order."""

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Greedy texts. Raises DataError for a task that asks for random ones."""
        texts = [""] * len(requests)

        def keep(number: int, text: str) -> None:
            texts[number] = text
            self.cache_hook.add_partial("generate_until", requests[number].args, text)

        if requests:
            self._write([self._text_request(*request.args) for request in requests], keep)
        return texts

    @abc.abstractmethod
    def _write(self, requests: Sequence[TextRequest], keep: Callable[[int, str], None]) -> None:
        """Tell ``keep`` the number of each request, one at least, and its text, in any order."""

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
