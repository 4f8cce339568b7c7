"""What is asked for: numbers, bounds, and what contradicts itself."""

from __future__ import annotations

import re
from typing import Any

import pytest

from qpipe.advice.needs import Needs
from qpipe.errors import CheckpointError, UsageError
from tests.advice.machines import CPU_32, LAPTOP, of


def test_numbers_and_bounds() -> None:
    needs = Needs.of(context="32k", batch="4", min_quality="ppl=1%", min_speed="12t/s")
    assert (needs.context, needs.batch, needs.speed) == (32768, 4, 12.0)
    assert needs.quality is not None
    assert needs.quality.admits(0.009) and not needs.quality.admits(0.011)
    kept = Needs.of(min_quality="accuracy=99%").quality
    assert kept is not None and kept.admits(0.995) and not kept.admits(0.98)


@pytest.mark.parametrize(
    ("needs", "words"),
    [
        ({"gpu": "potato"}, "--gpu potato"),
        ({"gpu": "0GB"}, "--gpu 0GB"),
        ({"gpu": "RTX 4900"}, "--gpu RTX 4900"),
        ({"ram": "much"}, "--ram much"),
        ({"gpu": "none"}, "--gpu none leaves nothing to compute with"),
        ({"ram": "8GB", "runtime": "olama"}, "did you mean 'ollama'"),
        ({"ram": "8GB", "prefer": "cheap"}, "--prefer cheap: not known"),
        ({"ram": "8GB", "ctx": "long"}, "--ctx long: give a whole number"),
        ({"ram": "8GB", "batch": 0}, "--batch 0: give a whole number"),
        ({"ram": "8GB", "min_quality": "good"}, "--min-quality good: this is no bound"),
        ({"ram": "8GB", "min_quality": "kld=2%"}, "is in nats"),
        ({"ram": "8GB", "min_quality": "ppl=1"}, "ppl is in percent, as ppl=1%"),
        ({"ram": "8GB", "min_quality": "accuracy=101%"}, "more than all of it"),
        ({"ram": "8GB", "min_speed": "fast"}, "--min-speed fast"),
        # Two demands that contradict each other, both named.
        ({"gpu": "H100", "offline_cpu": True}, "--offline-cpu and --gpu H100 contradict"),
        ({"offline_cpu": True, "runtime": "vllm"}, "--runtime vllm and --offline-cpu contradict"),
        (
            {"gpu": "none", "ram": "8GB", "runtime": "exllama"},
            "--runtime exllama and --gpu none contradict",
        ),
        (
            {"ram": "8GB", "prefer": "size", "min_quality": "kld=0"},
            "--prefer size and --min-quality kld=0 contradict",
        ),
    ],
)
def test_what_means_nothing_is_refused(needs: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=re.escape(words)):
        of({}, **needs)


def test_a_floor_that_the_memory_cannot_hold() -> None:
    with pytest.raises(UsageError) as caught:
        of(LAPTOP, min_quality="kld=0.002")
    said = str(caught.value)
    assert "--min-quality kld=0.002 and the memory of this machine (no GPU, 8 GiB RAM)" in said
    assert "Q8_0 in llama.cpp, which lacks 3.1 GiB" in said


def test_two_floors_of_which_one_excludes_the_other() -> None:
    with pytest.raises(UsageError, match=r"kld=0\.002 and --min-speed 200 contradict each other"):
        of({"gpu": "RTX 4090"}, runtime="llama.cpp", min_quality="kld=0.002", min_speed=200)


def test_an_architecture_that_is_not_known(tmp_path: Any) -> None:
    (tmp_path / "config.json").write_text('{"architectures": ["NoSuchForCausalLM"]}')
    with pytest.raises(CheckpointError, match="NoSuchForCausalLM"):
        of(CPU_32, model=str(tmp_path))


def test_a_model_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="nowhere"):
        of(CPU_32, model="nowhere")
