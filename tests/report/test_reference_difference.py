"""Perplexities are compared with the reference's by windows, where both kept theirs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from qpipe.report.reference_difference import compared_with
from qpipe.results.measurement import Evaluation, Measurement, Subject
from qpipe.results.scores import Difference, score
from qpipe.results.windows import WindowSums, difference

TOKENS = [64] * 6
REFERENCE = WindowSums([130.0, 110, 150, 120, 140, 125], TOKENS, "token", 384)
MODEL = WindowSums([131.0, 112, 151, 121, 141, 127], TOKENS, "token", 384)


def evaluation(folder: Path, sums: WindowSums, *, metric: str = "perplexity") -> Evaluation:
    folder.mkdir()
    if metric == "perplexity":
        sums.write(folder)
    measured = Measurement(
        "llamacpp-512",
        (score("ppl", sums.score, stderr=0.25),),
        Subject(tokens_sha256="a"),
        by="llama.cpp 1",
    )
    return Evaluation(metric, metric, "ran", measured, artifact=str(folder))


def delta(model: Evaluation, *candidates: Evaluation) -> Difference:
    (found,) = compared_with(model, candidates).measurement.scores
    assert found.delta is not None
    return found.delta


def test_the_interval_is_of_windows_in_pairs(tmp_path: Path) -> None:
    model = evaluation(tmp_path / "model", MODEL)
    found = delta(model, evaluation(tmp_path / "reference", REFERENCE))
    assert found == difference(MODEL, REFERENCE)
    assert found.value == pytest.approx(MODEL.score - REFERENCE.score)
    assert found.low is not None and 0 < found.low < found.value


def test_the_references_own_perplexity_is_taken_before_what_it_stored(tmp_path: Path) -> None:
    model = evaluation(tmp_path / "model", MODEL)
    stored = evaluation(tmp_path / "stored", REFERENCE, metric="logprobs")
    own = evaluation(tmp_path / "own", REFERENCE)
    assert delta(model, stored, own).low is not None
    assert delta(model, stored) == Difference(MODEL.score - REFERENCE.score)


def test_older_measurements_have_a_difference_without_an_interval(tmp_path: Path) -> None:
    model = evaluation(tmp_path / "model", MODEL)
    reference = evaluation(tmp_path / "reference", REFERENCE)
    (tmp_path / "reference" / "windows.json").unlink()
    assert delta(model, reference) == Difference(MODEL.score - REFERENCE.score)


def test_words_and_bytes_have_one_too(tmp_path: Path) -> None:
    ours, theirs = (WindowSums(of.nll, TOKENS, "byte", 1600) for of in (MODEL, REFERENCE))
    pair = []
    for name, sums in (("model", ours), ("reference", theirs)):
        made = evaluation(tmp_path / name, sums)
        measured = Measurement("bytes", (score("bits_per_byte", sums.score),))
        pair.append(Evaluation("p", "perplexity", "ran", measured, artifact=made.artifact))
    found = delta(pair[0], pair[1])
    assert found.low is not None and found.value == pytest.approx(ours.score - theirs.score)


def test_the_same_software_on_another_kernel_comes_before_another(tmp_path: Path) -> None:
    def by(name: str, words: str, sums: WindowSums) -> Evaluation:
        made = evaluation(tmp_path / name, sums)
        return replace(made, measurement=replace(made.measurement, by=words))

    model = by("model", "vllm 0.32.0 (float16, a kernel)", MODEL)
    other = by("other", "transformers 5.17.0 (float32)", MODEL)
    own = by("own", "vllm 0.32.0 (float32)", REFERENCE)
    for candidates in ((other, own), (own, other)):
        assert delta(model, *candidates).value == pytest.approx(MODEL.score - REFERENCE.score)
