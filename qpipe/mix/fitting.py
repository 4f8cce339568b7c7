"""Files of mixes, written and measured on windows that no loss was measured on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from qpipe.evaluators.text.interfaces import Tokens
from qpipe.gguf.file_plan import FilePlan
from qpipe.gguf.mixture import TypeRequest
from qpipe.llamacpp.backend import LlamaCppBackend
from qpipe.mix.budget import MixChoice
from qpipe.mix.choosing import budget_of, mix_of
from qpipe.mix.divergences import Divergences, interval
from qpipe.mix.fitted import FittedMix, fit
from qpipe.mix.gguf_file import fixed_parts, request_of
from qpipe.mix.sensitivity import Sensitivity
from qpipe.mix.target import MixTarget

Progress = Callable[[int, int], None]
Planned = Callable[[TypeRequest], FilePlan]


def held_out(tokens: Tokens, *, samples: int, seed: int) -> Tokens:
    """The windows that `qpipe.mix.measuring` measures no loss on: of those that it shuffles, the
    last."""
    count = max(8, min(samples // 2, len(tokens) // 2))
    shuffled = np.random.default_rng(seed).permutation(len(tokens))
    windows: Tokens = tokens[shuffled[-count:]]
    return windows


def fit_file(
    model: Path,
    sensitivity: Sensitivity,
    bound: float,
    tokens: Tokens,
    *,
    request: TypeRequest,
    planned: Planned,
    threads: int,
    folder: Path,
    most: int,
    progress: Progress = lambda done, total: None,
) -> FittedMix:
    """The smallest mix of the GGUF file ``model``, not quantized, whose file has no more than
    ``bound`` on windows [n, n_ctx], by the upper end of its 95 % interval.

    ``planned`` says what a file of a request is; ``folder`` takes one of them at a time. Raises
    RecipeError as `fit`.
    """
    target = MixTarget(kld=bound)
    plain = planned(request)
    budget = budget_of(sensitivity, target, fixed_parts(plain, sensitivity, request))
    done = 0
    with LlamaCppBackend(model, threads=threads) as backend:
        divergences = Divergences(backend, tokens, folder / "reference.bin")

    def measure(choice: MixChoice) -> tuple[float, float]:
        nonlocal done
        types = mix_of(choice, budget).types
        file = folder / "mix.gguf"
        wanted = request_of(types, plain, request, words="a mix that is tried")
        planned(wanted).write(file, threads=threads)
        try:
            with LlamaCppBackend(file, threads=threads) as backend:
                values = divergences.of(backend)
        finally:
            file.unlink(missing_ok=True)
        done += 1
        progress(done, most)
        return interval(values)

    return fit(budget, bound, measure, most=most)
