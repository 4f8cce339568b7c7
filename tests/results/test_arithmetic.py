"""What figures were computed in: read from facts of any age, and told apart."""

from __future__ import annotations

import pytest

from qpipe.results import arithmetic, facts
from qpipe.results.arithmetic import Arithmetic
from qpipe.results.measurement import Measurement
from qpipe.results.scores import Score

CPU = Arithmetic("cpu", "float32")


@pytest.mark.parametrize(
    ("backend", "read"),
    [
        ("transformers 5.17.0 (torch 2.13.0+cpu, float32, cpu)", CPU),
        (
            "transformers 5.17.0 (torch 2.13.0+cpu, bfloat16, cpu, compressed-tensors)",
            Arithmetic("cpu", "bfloat16"),
        ),
        ("transformers 5.17.0 (torch 2.11.0+cu130, float32, cuda)", Arithmetic("cuda", "float32")),
        ("llama.cpp 0.6.0 (xllamacpp 0.6.0)", None),
        (None, None),
    ],
)
def test_measurements_from_before_said_it_in_words(
    backend: str | None, read: Arithmetic | None
) -> None:
    assert arithmetic.read({"backend": backend}) == read


def test_a_measurement_keeps_it() -> None:
    own = Arithmetic("cuda", "bfloat16", "Linear4bit", "float16", "NVIDIA H200")
    measured = Measurement("p", (Score("ppl", 9.5),), arithmetic=own)
    assert facts.to_facts(measured)["arithmetic"] == {
        "device": "cuda", "precision": "bfloat16", "kernel": "Linear4bit",
        "kernel_precision": "float16", "gpu": "NVIDIA H200",
    }  # fmt: skip
    assert facts.measurement(facts.to_facts(measured)) == measured


@pytest.mark.parametrize(
    ("other", "like"),
    [
        (Arithmetic("cpu", "float32", kernel="TorchLinear"), True),
        (Arithmetic("cpu", "bfloat16"), False),
        (Arithmetic("cuda", "float32"), False),
        (Arithmetic("cpu", "float32", "AwqTorchLinear", "float16"), False),
    ],
)
def test_what_makes_a_difference(other: Arithmetic, like: bool) -> None:
    assert CPU.like(other) == like == other.like(CPU)


def test_another_card_of_the_same_kind_makes_none() -> None:
    one, other = (Arithmetic("cuda", "float32", gpu=gpu) for gpu in ("NVIDIA H100", "NVIDIA H200"))
    assert one.like(other)
