"""Log-probabilities of continuations after contexts, by llama.cpp."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qpipe.errors import DataError
from qpipe.llamacpp.context import LogitsArray
from qpipe.llamacpp.prefixes import LogitsBlock, Prefixes, Prompt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ContinuationRequest:
    """``context`` and ``continuation`` as token ids, neither empty."""

    context: tuple[int, ...]
    continuation: tuple[int, ...]

    def inputs(self, longest: int) -> tuple[int, ...]:
        """Tokens that the model is given: all but the last one, cut on the left to ``longest``.

        As lm-eval's HFLM does (models/huggingface.py, `_loglikelihood_tokens`).
        """
        return (self.context + self.continuation)[:-1][-longest:]


@dataclass(frozen=True)
class ContinuationScore:
    """Log-probability in nats of a whole continuation, and whether greedy decoding gives it."""

    logprob: float
    greedy: bool


class _Sum:
    """A continuation's score in the making."""

    def __init__(self, request: ContinuationRequest) -> None:
        self.targets = request.continuation
        self.logprob = 0.0
        self.greedy = True


def score(
    prefixes: Prefixes, requests: Sequence[ContinuationRequest], *, longest: int
) -> Iterator[list[tuple[int, ContinuationScore]]]:
    """(number of the request, score), a list for each batch.

    Raises DataError where a logit is NaN, and what `Prefixes.decode` raises.
    """
    users: dict[tuple[int, ...], list[int]] = {}
    for number, request in enumerate(requests):
        users.setdefault(request.inputs(longest), []).append(number)
    prompts = [
        Prompt(tokens, max(len(requests[number].continuation) for number in numbers))
        for tokens, numbers in sorted(users.items())
    ]
    at = 0
    while at < len(prompts):
        taken = prompts[at : at + prefixes.take(prompts[at:], most=prefixes.n_sequences - 1)]
        at += len(taken)
        sums = [{n: _Sum(requests[n]) for n in users[prompt.tokens]} for prompt in taken]
        sequences = range(1, len(taken) + 1)
        for piece in prefixes.decode(taken, sequences):
            _add(piece, taken, sums)
        prefixes.release(sequences)
        yield [(n, ContinuationScore(s.logprob, s.greedy)) for of in sums for n, s in of.items()]


def _add(piece: LogitsBlock, prompts: Sequence[Prompt], sums: Sequence[dict[int, _Sum]]) -> None:
    """Add the log-probability of every target that the piece's logits predict."""
    who: list[_Sum] = []
    rows: list[int] = []
    targets: list[int] = []
    for prompt, offset, row in piece.places:
        for one in sums[prompt].values():
            target = offset - prompts[prompt].n_outputs + len(one.targets)
            if target >= 0:
                who.append(one)
                rows.append(row)
                targets.append(one.targets[target])
    if not who:
        return
    logprobs, best = _logprobs(piece.logits, np.array(rows), np.array(targets))
    for one, logprob, target, top in zip(who, logprobs, targets, best, strict=True):
        one.logprob += float(logprob)
        one.greedy &= target == int(top)


def _logprobs(
    logits: LogitsArray, rows: npt.NDArray[np.int64], targets: npt.NDArray[np.int64]
) -> tuple[Floats, npt.NDArray[np.int64]]:
    """log softmax(logits)[row, target], and each row's most likely token.

    Differences and exponentials in float32, sums in float64, as in `token_scores.token_nll`.
    """
    top = logits.max(axis=1)
    with np.errstate(invalid="ignore"):
        totals = np.log(np.exp(logits - top[:, None]).sum(axis=1, dtype=np.float64))
    chosen = (logits[rows, targets] - top[rows]).astype(np.float64) - totals[rows]
    if not np.isfinite(chosen).all():
        raise DataError(
            "llama.cpp gave logits that are NaN or infinite: the model is damaged, or its "
            "quantization overflowed; evaluate the unquantized checkpoint to tell which"
        )
    return chosen, logits.argmax(axis=1)[rows]
