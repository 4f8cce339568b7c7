"""A checkpoint as a model of lm-eval, by vLLM."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from qpipe.environments.environment import Environment
from qpipe.errors import CheckpointError, DataError
from qpipe.evaluators.common.vllm_backend import VllmBackend
from qpipe.evaluators.common.vllm_engine import VllmEngine
from qpipe.evaluators.harness.continuations import ContinuationRequest, ContinuationScore
from qpipe.evaluators.harness.generation import TextRequest
from qpipe.evaluators.harness.prompts import CheckpointPrompts
from qpipe.evaluators.harness.token_requests import TokenRequests
from qpipe.hf.quantized import CONFIG, read_object

# Sequences in vLLM at once, requests that are sent together, tokens that are written before
# somebody looks whether a text is over.
_SEQUENCES, _TOGETHER, _WRITTEN = 16, 64, 32
# Tokens of a sequence that the engine has room for at least, so that it is not started again.
_WINDOW = 1024


class VllmLM(CheckpointPrompts, TokenRequests):
    """lm-eval's model interface on a checkpoint folder; a context manager.

    ``date`` is the day that a chat template is told.
    """

    def __init__(
        self, folder: Path, environment: Environment, *, threads: int, date: str | None = None
    ) -> None:
        """Raises CheckpointError for what vLLM does not load."""
        super().__init__()
        self._vllm = VllmBackend(folder, environment, threads=threads)
        trained = self._vllm.n_ctx_train
        if trained is None:
            raise CheckpointError(
                f"{folder}/{CONFIG} says no max_position_embeddings: take "
                "evaluate.backend=transformers"
            )
        # vLLM 0.32 has to be given a continuation's last token too, and wants room for one more.
        self.max_length = trained - 2
        self._trained = trained
        self.read_vocabulary(folder, date=date)
        self._ends = _ends(folder, self.tokenizer.eos_token_id)

    def _score(
        self,
        requests: Sequence[ContinuationRequest],
        keep: Callable[[int, ContinuationScore], None],
    ) -> None:
        prompts = [(*one.inputs(self.max_length), one.continuation[-1]) for one in requests]
        order = sorted(range(len(requests)), key=lambda number: -len(prompts[number]))
        for numbers in _portions(order):
            engine = self._engine(len(prompts[numbers[0]]))
            first = [len(prompts[n]) - len(requests[n].continuation) for n in numbers]
            scored = engine.score([prompts[n] for n in numbers], first)
            for number, values in zip(numbers, scored, strict=True):
                if not np.isfinite(values).all():
                    raise DataError(
                        "vLLM gave log-probabilities that are NaN or infinite: the model is "
                        "damaged, or its quantization overflowed; evaluate the unquantized "
                        "checkpoint to tell which"
                    )
                likeliest = bool((values[:, 1] == 1).all())
                keep(number, ContinuationScore(float(values[:, 0].sum()), likeliest))

    def _write(self, requests: Sequence[TextRequest], keep: Callable[[int, str], None]) -> None:
        written: dict[int, list[int]] = {number: [] for number in range(len(requests))}
        piece = _WRITTEN
        while written:
            order = sorted(written, key=lambda number: -len(requests[number].prompt))
            for numbers in _portions(order):
                for number, tokens, ended in self._piece(requests, numbers, written, piece):
                    written[number] += tokens
                    text = self.tokenizer.decode(written[number], skip_special_tokens=True)
                    cut = _until(text, requests[number].stops)
                    if ended or cut is not None or len(written[number]) >= requests[number].limit:
                        del written[number]
                        keep(number, text if cut is None else cut)
            piece *= 2

    def _piece(
        self,
        requests: Sequence[TextRequest],
        numbers: Sequence[int],
        written: dict[int, list[int]],
        piece: int,
    ) -> Iterator[tuple[int, list[int], bool]]:
        """(number, the next tokens of its text, whether it is over with them)."""
        prompts = [[*requests[n].prompt, *written[n]] for n in numbers]
        most = [min(piece, requests[n].limit - len(written[n])) for n in numbers]
        longest = max(len(prompt) + n for prompt, n in zip(prompts, most, strict=True))
        texts = self._engine(longest).write(prompts, most, self._ends)
        for number, tokens, n in zip(numbers, texts, most, strict=True):
            yield number, tokens, len(tokens) < n

    @property
    def computed_by(self) -> str:
        """The software, with all that it computes by."""
        return f"{self._vllm.name} {self._engine(_WINDOW - 1).version}"

    @property
    def arithmetic(self) -> Mapping[str, str]:
        """In what is computed and where, as `qpipe.results.arithmetic` reads it."""
        return self._engine(_WINDOW - 1).arithmetic

    def _engine(self, longest: int) -> VllmEngine:
        window = min(self._trained, max(longest + 1, _WINDOW))
        return self._vllm.engine(window, sequences=_SEQUENCES)

    def close(self) -> None:
        """End the engine's process."""
        self._vllm.close()


def _portions(order: Sequence[int]) -> Iterator[Sequence[int]]:
    for at in range(0, len(order), _TOGETHER):
        yield order[at : at + _TOGETHER]


def _until(text: str, stops: Sequence[str]) -> str | None:
    """The text before the first of the stop texts, None if none is in it."""
    if not any(stop in text for stop in stops):
        return None
    for stop in stops:
        text = text.split(stop)[0]
    return text


def _ends(folder: Path, eos: int | None) -> list[int]:
    """The tokens that end a text: generation_config.json's, else config.json's, and EOS."""
    path = folder / "generation_config.json"
    told = read_object(path if path.is_file() else folder / CONFIG).get("eos_token_id")
    every = [*(told if isinstance(told, list) else [told]), eos]
    return sorted({end for end in every if isinstance(end, int)})
