"""Greedy texts after prompts, many at once, by llama.cpp."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from qpipe.errors import DataError
from qpipe.llamacpp.batch import Batch
from qpipe.llamacpp.context import LogitsArray
from qpipe.llamacpp.prefixes import Prefixes, Prompt


@dataclass(frozen=True)
class TextRequest:
    """A text after ``prompt`` (token ids) of at most ``limit`` tokens, until a stop text."""

    prompt: tuple[int, ...]
    limit: int
    stops: tuple[str, ...]


@dataclass
class _Writing:
    """One text in the making, in sequence ``sequence``."""

    number: int
    sequence: int
    request: TextRequest
    tokens: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Writer:
    """Writes texts; ``detokenize`` gives the text of token ids, a text is over at one of
    ``ends``."""

    prefixes: Prefixes
    detokenize: Callable[[Sequence[int]], str]
    ends: frozenset[int]

    def write(self, requests: Sequence[TextRequest]) -> Iterator[tuple[int, str]]:
        """(number of the request, text without its stop), in the order in which they end.

        Raises DataError where a logit is NaN, and what `Prefixes.decode` raises.
        """
        waiting = deque(sorted(range(len(requests)), key=lambda number: requests[number].prompt))
        free = list(range(1, self.prefixes.n_sequences))
        active: list[_Writing] = []
        while waiting or active:
            # A prompt is read while others write: not for each place that falls free.
            if waiting and (not active or 2 * len(free) >= self.prefixes.n_sequences):
                active += self._begin(requests, waiting, free)
            elif active:
                self._step(active)
            for writing in [one for one in active if self._ended(one)]:
                active.remove(writing)
                self.prefixes.release([writing.sequence])
                free.append(writing.sequence)
                yield writing.number, self._text(writing)

    def _begin(
        self, requests: Sequence[TextRequest], waiting: deque[int], free: list[int]
    ) -> list[_Writing]:
        """Read the next prompts and take the first token after each."""
        numbers = [waiting[index] for index in range(min(len(free), len(waiting)))]
        prompts = [Prompt(requests[number].prompt, 1) for number in numbers]
        count = self.prefixes.take(prompts, most=len(prompts))
        begun = [
            _Writing(waiting.popleft(), free.pop(), requests[number]) for number in numbers[:count]
        ]
        sequences = [writing.sequence for writing in begun]
        for piece in self.prefixes.decode(prompts[:count], sequences):
            best = _best(piece.logits)
            for number, _, row in piece.places:
                begun[number].tokens.append(best[row])
        return begun

    def _step(self, active: Sequence[_Writing]) -> None:
        """One more token for each."""
        batch = Batch(
            [writing.tokens[-1] for writing in active],
            positions=[len(w.request.prompt) + len(w.tokens) - 1 for w in active],
            sequences=[writing.sequence for writing in active],
            outputs=np.ones(len(active)),
        )
        for writing, token in zip(active, _best(self.prefixes.context.decode(batch)), strict=True):
            writing.tokens.append(token)

    def _ended(self, writing: _Writing) -> bool:
        if writing.tokens[-1] in self.ends or len(writing.tokens) >= writing.request.limit:
            return True
        text = self.detokenize(writing.tokens)
        return any(stop in text for stop in writing.request.stops)

    def _text(self, writing: _Writing) -> str:
        ended = writing.tokens[-1] in self.ends
        text = self.detokenize(writing.tokens[:-1] if ended else writing.tokens)
        for stop in writing.request.stops:
            text = text.split(stop)[0]
        return text


def _best(logits: LogitsArray) -> list[int]:
    if np.isnan(logits).any():
        raise DataError(
            "llama.cpp gave logits that are NaN: the model is damaged, or its quantization "
            "overflowed; evaluate the unquantized checkpoint to tell which"
        )
    return [int(token) for token in logits.argmax(axis=1)]
