"""Scores and their fields: there and back, whatever they are called."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpipe.results import fields
from qpipe.results.facts import measurement, of_measurement
from qpipe.results.measurement import Measurement, Subject
from qpipe.results.scores import Declaration, Difference, Score, score

numbers = st.floats(-1e6, 1e6)
maybe = st.none() | numbers
NAMES = ("ppl", "kld", "toxicity", "compression_ratio", "ttft_low", "price_delta", "ppl_stderr_2")
deltas = st.builds(Difference, numbers, maybe, maybe, maybe, maybe)
scores = st.builds(
    Score,
    st.sampled_from(NAMES),
    numbers,
    stderr=maybe,
    interval=st.none() | st.tuples(numbers, numbers),
    iqr=maybe,
    delta=st.none() | deltas,
    ratio=maybe,
    base=maybe,
    where=st.sampled_from(("", "mmlu", "gsm8k strict-match")),
    unit=st.sampled_from(("", "%", "t/s")),
    better=st.sampled_from((None, "lower", "higher")),
    digits=st.none() | st.integers(0, 15),
    detail=st.booleans(),
    compared=st.booleans(),
    heading=st.none() | st.text(max_size=5),
)
several = st.lists(scores, max_size=5, unique_by=lambda each: each.name).map(tuple)


@given(several)
def test_facts_say_all_of_them(made: tuple[Score, ...]) -> None:
    """Through JSON, as a manifest keeps them; of tasks the order is their own."""
    facts = json.loads(json.dumps(of_measurement(Measurement("p", made, Subject(text="t")))))
    found = measurement(facts)
    assert {each.key: each for each in found.scores} == {each.key: each for each in made}
    assert (found.protocol, found.on.text) == ("p", "t")


def test_the_shipped_scores_need_no_declaration() -> None:
    """Their facts are those that were always written."""
    made = Measurement(
        "llamacpp-512",
        (score("kld", 0.5, stderr=0.25), score("ppl", 9.0, delta=Difference(1.0, 0.5))),
        Subject("a.txt", 600, 300, "ab"),
        by="llama.cpp 1",
        notes=(),
        seconds=2.0,
    )
    assert list(of_measurement(made).items()) == [
        ("text", "a.txt"), ("protocol", "llamacpp-512"), ("tokens", 600), ("tokens_scored", 300),
        ("tokens_sha256", "ab"), ("backend", "llama.cpp 1"), ("notes", []), ("kld", 0.5),
        ("kld_stderr", 0.25), ("ppl", 9.0), ("ppl_delta", 1.0), ("ppl_delta_stderr", 0.5),
        ("seconds", 2.0), ("tokens_per_second", None),
    ]  # fmt: skip


def test_two_scores_of_one_field() -> None:
    for other in ("x", "x_low", "x_delta"):
        both = (Score("x", 1.0, interval=(0.0, 2.0), compared=True), Score(other, 1.0))
        with pytest.raises(ValueError, match=f"two scores have a field '{other}'"):
            Measurement("p", both)


def test_of_facts_without_declarations_endings_tell() -> None:
    """As an artifact of any age, or of a third party's evaluator, has them."""
    found = measurement({"a": 1, "a_stderr": 0.5, "a_low": 2, "b_ratio": 3, "flag": True, "x": "y"})
    assert [(each.name, each.value, each.stderr) for each in found.scores] == [
        ("a", 1, 0.5),
        ("a_low", 2, None),
        ("b_ratio", 3, None),
    ]


@pytest.mark.parametrize("name", ["", "status", "interval", "acc[mmlu]"])
def test_a_name_that_no_table_can_have(name: str) -> None:
    with pytest.raises(ValueError, match="a score cannot be called"):
        Score(name, 1.0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True])
def test_what_is_no_number(value: float) -> None:
    with pytest.raises(ValueError, match="is no finite number"):
        Score("x", value)


def test_what_cannot_be_drawn() -> None:
    with pytest.raises(ValueError, match="lower, higher or None"):
        Declaration(better="up")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="0 to 15"):
        Declaration(digits=-1)


def test_another_versions_declarations_are_passed_over() -> None:
    assert fields.declaration({"unit": "%", "colour": "red"}) == Declaration(unit="%")


def test_the_room_is_standard_library_only() -> None:
    code = "import sys, qpipe.results, qpipe.results.record; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"numpy", "pydantic", "hydra", "rich", "torch"}
    assert not heavy & {name.split(".")[0] for name in out.stdout.split()}
