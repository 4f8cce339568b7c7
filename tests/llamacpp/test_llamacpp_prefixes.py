"""Prompts decoded together give the logits that each gives alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpipe.llamacpp.batch import Batch
from qpipe.llamacpp.context import ContextOptions, LlamaContext, LogitsArray
from qpipe.llamacpp.model import Model
from qpipe.llamacpp.prefixes import Prefixes, Prompt, _common, cells

Gguf = Callable[[str, str], Path]
SEQUENCES = 9


@pytest.fixture(scope="module")
def stories(gguf_of: Gguf) -> Iterator[Model]:
    with Model(gguf_of("stories260K", "F32")) as model:
        yield model


def exact(n_ctx: int, **more: Any) -> ContextOptions:
    """Nothing is rounded to half precision, so that what is left is the order of additions."""
    return ContextOptions(
        n_ctx=n_ctx, threads=1, type_k="f32", type_v="f32", flash_attention="off", **more
    )


def alone(model: Model, prompt: Prompt) -> LogitsArray:
    count = len(prompt.tokens)
    with LlamaContext(model, exact(count)) as context:
        wanted = np.arange(count) >= count - prompt.n_outputs
        batch = Batch(
            prompt.tokens, positions=np.arange(count), sequences=np.zeros(count), outputs=wanted
        )
        return context.decode(batch).copy()


def together(
    model: Model, prompts: list[Prompt], *, batch: int, n_batch: int
) -> tuple[list[dict[int, LogitsArray]], int]:
    """The logits of each prompt by wanted position, and how many tokens were decoded for them."""
    longest = max(len(prompt.tokens) for prompt in prompts)
    options = exact(cells(longest, batch=batch), n_seq=SEQUENCES, n_batch=n_batch, shared=True)
    found: list[dict[int, LogitsArray]] = [{} for _ in prompts]
    at = decoded = 0
    with LlamaContext(model, options) as context, pytest.MonkeyPatch.context() as patch:
        prefixes = Prefixes(context, batch=batch)
        decode = context.decode

        def counted(some: Batch) -> LogitsArray:
            nonlocal decoded
            decoded += len(some.tokens)
            return decode(some)

        patch.setattr(context, "decode", counted)
        while at < len(prompts):
            count = prefixes.take(prompts[at:], most=SEQUENCES - 1)
            sequences = range(1, count + 1)
            for piece in prefixes.decode(prompts[at : at + count], sequences):
                for number, offset, row in piece.places:
                    found[at + number][offset] = piece.logits[row].copy()
            prefixes.release(sequences)
            at += count
    return found, decoded


def questions() -> list[Prompt]:
    """Two sets of examples, ten questions each, four answers, and beginnings of other prompts."""
    draw = np.random.default_rng(7)

    def some(count: int) -> list[int]:
        return [int(token) for token in draw.integers(3, 512, count)]

    prompts = []
    for _ in range(2):
        examples = [1, *some(60)]
        for _ in range(10):
            question = examples + some(12)
            for length in range(1, 5):
                prompts.append(Prompt(tuple(question + some(length)), length + 1))
            prompts.append(Prompt(tuple(question), 1))
            prompts.append(Prompt(tuple(question[:66]), 8))
    return sorted(set(prompts))


@pytest.mark.parametrize(("batch", "n_batch"), [(32, 64), (200, 64), (200, 256)])
def test_shared_prefixes_change_nothing(stories: Model, batch: int, n_batch: int) -> None:
    prompts = questions()
    found, decoded = together(stories, prompts, batch=batch, n_batch=n_batch)
    for prompt, rows in zip(prompts, found, strict=True):
        assert sorted(rows) == list(range(prompt.n_outputs))
        apart = np.stack([rows[offset] for offset in range(prompt.n_outputs)])
        np.testing.assert_allclose(apart, alone(stories, prompt), atol=2e-4)
    assert decoded < sum(len(prompt.tokens) for prompt in prompts) / 4


def test_what_is_kept_between_batches_is_decoded_once(stories: Model) -> None:
    examples = tuple(range(3, 103))
    prompts = [Prompt((*examples, 200 + number), 1) for number in range(30)]
    _, decoded = together(stories, prompts, batch=16, n_batch=64)
    assert decoded == len(examples) + len(prompts)


@given(st.lists(st.integers(0, 2)), st.lists(st.integers(0, 2)))
def test_common_beginnings(one: list[int], other: list[int]) -> None:
    expected = 0
    while expected < min(len(one), len(other)) and one[expected] == other[expected]:
        expected += 1
    assert _common(tuple(one), tuple(other)) == expected
