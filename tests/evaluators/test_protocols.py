"""Protocols are data, and no variant can be taken for the protocol itself."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from qpipe.errors import DataError, UsageError
from qpipe.evaluators.text.protocols import PROTOCOLS, protocol
from qpipe.evaluators.text.windows import cut


def test_llamacpp_512_is_llama_perplexitys() -> None:
    known = protocol("llamacpp-512")
    assert (known.n_ctx, known.first, known.bos, known.stride) == (512, 256, "replace", None)
    assert (known.version, known.unit, known.chunks) == (1, "token", None)
    assert known.label == "llamacpp-512"


@pytest.mark.parametrize(
    ("n_ctx", "chunks", "label"),
    [
        (None, None, "llamacpp-512"),
        (512, None, "llamacpp-512"),
        (256, None, "llamacpp-512 n_ctx=256"),
        (None, 100, "llamacpp-512 chunks=100"),
        (256, 120, "llamacpp-512 n_ctx=256 chunks=120"),
    ],
)
def test_the_label_names_every_departure(n_ctx: int | None, chunks: int | None, label: str) -> None:
    assert protocol("llamacpp-512").with_overrides(n_ctx=n_ctx, chunks=chunks).label == label


def test_another_version_has_another_label() -> None:
    assert dataclasses.replace(protocol("llamacpp-512"), version=2).label == "llamacpp-512 v2"


def test_the_second_half_moves_with_the_context() -> None:
    assert protocol("llamacpp-512").with_overrides(n_ctx=7).first == 3


def test_an_unknown_name_gets_the_near_miss() -> None:
    with pytest.raises(UsageError, match="no protocol 'llamacp-512'; did you mean 'llamacpp-512'"):
        protocol("llamacp-512")


@pytest.mark.parametrize(("n_ctx", "chunks"), [(0, None), (2, None), (-5, None), (None, 0)])
def test_values_that_score_nothing_are_refused(n_ctx: int | None, chunks: int | None) -> None:
    with pytest.raises(UsageError, match=r"n_ctx=-?\d leaves|chunks=0"):
        protocol("llamacpp-512").with_overrides(n_ctx=n_ctx, chunks=chunks)


def test_the_registry_is_keyed_by_name() -> None:
    assert all(known.name == name for name, known in PROTOCOLS.items())


@pytest.mark.parametrize(
    ("name", "n_ctx", "chunks", "expected"),
    [
        # 1,000 bytes are 1,002 tokens at most: 15 windows of 64, each with 31 scored tokens.
        ("llamacpp-512", 64, None, 15 * 31),
        ("llamacpp-512", 64, 4, 4 * 31),
        ("llamacpp-512", None, None, 256 - 1),
        ("gptq-2048", None, None, 0),
        ("gptq-2048", 100, None, 10 * 99),
        ("bytes", None, None, 1002),
    ],
)
def test_the_most_tokens_that_a_text_can_have_scored(
    name: str, n_ctx: int | None, chunks: int | None, expected: int
) -> None:
    assert protocol(name).with_overrides(n_ctx=n_ctx, chunks=chunks).most_scored([1000]) == expected


class Letters:
    """A token a character."""

    bos = None
    prefix = 0

    def tokenize(self, text: str) -> Any:
        return np.arange(len(text), dtype=np.int32)


@pytest.mark.parametrize(
    ("text", "advice"),
    [("ab", "longer text$"), ("abc" * 20, r"longer text, or set evaluate\.n_ctx to 60 or less$")],
)
def test_only_windows_that_there_can_be_are_advised(text: str, advice: str) -> None:
    with pytest.raises(DataError, match=f"needs 512: give a {advice}"):
        cut(text, Letters(), protocol("llamacpp-512"))
