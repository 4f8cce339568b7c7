"""Runs that were written before run.json had a schema number print what they always printed."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from qpipe.report.render import render, to_terminal
from qpipe.report.runs import Summary, merge, summary

RUNS = Path(__file__).parent.parent / "data" / "runs"


def read(name: str) -> Summary:
    document = json.loads((RUNS / f"{name}.json").read_bytes())
    assert "schema" not in document
    return summary(document, Path("run.json"))


@pytest.mark.parametrize("form", ["md", "csv"])
def test_reports_are_byte_for_byte_the_same(form: str) -> None:
    both = merge([read("all"), read("dominated")])
    assert render(both, form, title="both").encode() == (RUNS / f"both.{form}").read_bytes()


def test_so_is_the_plain_table() -> None:
    out = io.StringIO()
    to_terminal(merge([read("all"), read("dominated")]), out)
    assert out.getvalue().encode() == (RUNS / "both.txt").read_bytes()


def test_their_scores_are_known_by_their_names() -> None:
    best = merge([read("all")]).rows[1]
    assert {(name, s.better, s.unit) for name, s in best.scores.items() if not s.detail} == {
        ("acc[stories]", "higher", ""),
        ("acc_norm[stories]", "higher", ""),
        ("word_perplexity[stories_whole]", "lower", ""),
        ("bits_per_byte[stories_whole]", "lower", ""),
        ("pp", "higher", "t/s"),
        ("tg", "higher", "t/s"),
        ("ttft", "lower", "s"),
        ("peak_rss", "lower", "bytes"),
        ("ppl", "lower", ""),
        ("kld", "lower", "nats"),
        ("same_top_pct", "higher", "%"),
        ("rms_dp_pct", "lower", "%"),
    }
    ppl = best.scores["ppl"]
    assert ppl.stderr is not None and ppl.delta is not None and ppl.delta.stderr is not None
    assert best.scores["pp"].ratio and best.scores["pp"].iqr
    stopped = merge([read("dominated")]).rows[2]
    assert stopped.dominated_by == "Q4_K_M" and "kld" in stopped.cut_short
