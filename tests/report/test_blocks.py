"""Tables that fit: a block for each way of measuring, no wider than 80 columns, no column half
empty."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qpipe.report.blocks import Block, blocks
from qpipe.report.render import render, to_terminal
from qpipe.report.runs import merge, summary
from qpipe.report.text import table, width_of
from qpipe.results.comparison import Comparison, ModelRow
from qpipe.results.measurement import Evaluation, Measurement, Subject
from qpipe.results.scores import Difference, Score, score

RUNS = Path(__file__).parent.parent / "data" / "runs"


def real(*names: str) -> Comparison:
    read = [json.loads((RUNS / f"{name}.json").read_bytes()) for name in names]
    return merge([summary(document, Path("run.json")) for document in read])


def lines(block: Block) -> list[str]:
    return table(block.head, block.body, right=block.sides).splitlines()


def row(name: str, *measured: Evaluation, reference: bool = False, **more: object) -> ModelRow:
    size = 7_000_000 if reference else 3_000_000
    made = ModelRow(
        name, name, "ran", reference, size_bytes=size, bits_per_weight=8.5, artifact="/store/a"
    )
    return replace(made, measurements=measured, **more)  # type: ignore[arg-type]


def kld(*scores: Score, metric: str = "kld", on: str = "a") -> Evaluation:
    subject = Subject(text="wiki.txt", tokens_scored=1000, tokens_sha256=on * 64)
    return Evaluation("kld", metric, "ran", Measurement("llamacpp-512", scores, subject))


def test_a_block_for_each_way_under_what_was_done() -> None:
    of = [block.caption for block in blocks(real("all", "dominated"))]
    on = "on tinystories_lower_heldout.txt"
    assert of == [
        "tasks: lm-eval 0.4.13 limit=20; stories; 40 items of 2 tasks",
        "tasks: lm-eval 0.4.13 limit=20; stories_whole; 40 items of 2 tasks",
        f"perplexity, kld: llamacpp-512 n_ctx=256 chunks=100 {on}; 12,700 tokens scored; "
        "noise of kld 4.19e-07",
        f"kld: llamacpp-512 n_ctx=256 chunks=300 {on}; 38,100 tokens scored; noise of kld 2.57e-08",
        "speed: llama.cpp pp64 tg8 threads=2",
    ]


def test_no_line_is_wider_than_80_columns_and_nothing_is_lost() -> None:
    """Of perplexity, KL divergence, tasks and speed, measured for real."""
    both = real("all", "dominated")
    narrow, whole = blocks(both, width=80), blocks(both)
    assert max(width_of(line) for block in narrow for line in lines(block)) <= 80
    assert max(width_of(line) for block in whole for line in lines(block)) > 80
    for block in whole:
        at = [b.caption for b in narrow].index(block.caption)
        parts = [narrow[at]]
        for other in narrow[at + 1 :]:
            if other.caption:
                break
            parts.append(other)
        shown = {heading for part in parts for heading in part.head}
        assert shown == set(block.head)
        assert all(part.head[0] == "format" for part in parts), "each says which row is which"
        # What a reader needs most is in the first.
        assert parts[0].head[:3] == ["format", "size", "bpw"]


def test_no_column_is_half_empty() -> None:
    for block in blocks(real("all", "dominated"), width=80):
        for column in block.columns:
            models = [cell for n, cell in enumerate(column.cells) if n not in block.strong]
            assert all(models), (block.caption, column.heading)


def test_what_comes_first_where_names_are_long() -> None:
    """Divergence and difference before bits per weight, which JSON has."""
    delta = Difference(0.5, low=0.25, high=0.75)
    scores = (score("kld", 0.01, stderr=0.001), score("ppl", 9.0, stderr=0.1, delta=delta))
    name = "Q4_K_M seed=0 via=f"
    long = row(name, kld(*scores), format="Q4_K_M")
    first, *_ = blocks(Comparison.of([long]), width=80)
    assert first.head == ["name", "size", "kld ± stderr", "Δ ppl [95 %]"]
    assert max(map(width_of, lines(first))) <= 80


def test_a_name_longer_than_the_width_still_has_its_figures() -> None:
    made = blocks(Comparison.of([row("x" * 100, kld(score("kld", 0.01)))]), width=80)
    assert [block.head[1:] for block in made] == [["size"], ["kld"]]
    assert made[0].caption and not made[1].caption


def test_rows_that_were_measured_in_no_way_stand_in_the_first_block() -> None:
    rows = [
        row("F16", kld(score("ppl", 8.0), on="a"), kld(score("ppl", 9.0), on="b"), reference=True),
        row("Q8_0", kld(score("ppl", 8.5), on="a")),
        row("Q4_0", kld(score("ppl", 9.5), on="b")),
        row("Q2_K", status="failed", size_bytes=None, error="no room"),
    ]
    first, second = blocks(Comparison.of(rows))
    assert [line[0] for line in first.body] == ["F16", "Q8_0", "Q2_K"]
    assert first.head[-1] == "status" and first.body[-1][-1] == "failed"
    assert [line[0] for line in second.body] == ["F16", "Q4_0"]
    assert (first.caption[-13:], second.caption[-13:]) == ("(text aaaaaa)", "(text bbbbbb)")


def test_models_of_which_nothing_was_measured_have_their_size() -> None:
    (only,) = blocks(Comparison.of([row("F16", reference=True), row("Q8_0")]), width=80)
    assert only.head == ["format", "size", "bpw"]
    assert not only.caption


@pytest.mark.parametrize(
    ("value", "stderr", "marked"),
    [(0.02, 0.001, False), (3e-7, 1e-8, True), (-1e-7, 1e-8, True), (0.02, 0.02, True)],
)
def test_a_divergence_within_the_noise_is_marked(value: float, stderr: float, marked: bool) -> None:
    noise = kld(score("ppl", 8.0), score("kld_noise", -4e-7), metric="logprobs")
    rows = [
        row("F16", noise, reference=True),
        row("Q8_0", kld(score("kld", value, stderr=stderr), score("ppl", 8.1))),
    ]
    out = io.StringIO()
    to_terminal(Comparison.of(rows), out)
    text = out.getvalue().splitlines()
    assert "noise of kld -4.00e-07" in text[0]
    assert text[2].split()[4] == "—", "the reference has no divergence from itself"
    assert ("n.s." in text[3]) == marked
    assert any(line.startswith("n.s.: not distinguishable") for line in text) == marked


def speed(name: str, pp: float, iqr: float, *, load: float, **beside: Any) -> ModelRow:
    scores = (
        score("pp", pp, iqr=iqr, **beside),
        score("tg", 100.0, iqr=1.0, **beside),
        score("load_start", load),
        score("load_end", load + 1),
        score("others_cpu_pct", 12.3),
    )
    measured = Measurement("llama.cpp pp64 tg8 threads=2", scores, by="llama.cpp 1")
    return row(name, Evaluation("speed", "speed", "ran", measured), reference=not beside)


def test_speed_says_what_else_ran_and_which_figures_are_unsteady() -> None:
    """The figure, the reference's in the same rounds, and their ratio stand beside each other."""
    rows = [
        speed("F16", 4000.0, 1201.0, load=0.5),
        speed("Q8_0", 8000.0, 2400.0, load=2.5, ratio=1.5, base=5300.0),
    ]
    compared = Comparison.of(rows)
    first, second = blocks(compared, width=80)
    assert first.caption == "speed: llama.cpp pp64 tg8 threads=2; load average 0.5 to 3.5"
    assert first.head[2:5] == ["pp t/s (IQR)", "pp ref", "pp/ref"]
    assert [line[2:5] for line in first.body] == [
        ["4,000 (30%) !", "—", "—"],
        ["8,000 (30%)", "5,300", "1.50 ×"],
    ]
    assert second.head == ["format", "bpw", "others' CPU %"]
    assert [line[-1] for line in second.body] == ["12", "12"]
    assert [made.unsteady for made in compared.rows] == [("pp",), ()]
    assert json.loads(render(compared, "json"))["rows"][0]["unsteady"] == ["pp"]
    out = io.StringIO()
    to_terminal(compared, out)
    assert "ref: the reference's median in the same rounds" in out.getvalue()
    assert "!: the middle half of the rounds is spread over more than 30 %" in out.getvalue()


def test_answers_that_are_all_alike_differ_by_nothing() -> None:
    same = Difference(0.0, low=0.0, high=0.0, p=1.0)
    items = Evaluation(
        "t", "tasks", "ran", Measurement("lm-eval", (score("acc", 0.5, delta=same, where="mmlu"),))
    )
    (only,) = blocks(Comparison.of([row("Q8_0", items)]))
    assert only.caption == "tasks: lm-eval; mmlu"
    assert only.head[-1] == "Δ acc [95 %]"
    assert only.body[0][-1] == "0 (all alike) n.s."


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("columns", "widest", "tables"), [("60", 80, 9), ("200", 200, 5)])
def test_a_terminals_width_is_used(
    columns: str, widest: int, tables: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    out = Terminal()
    to_terminal(real("all", "dominated"), out)
    text = [line.rstrip() for line in out.getvalue().splitlines()]
    plain = [line.replace("\x1b[1m", "").replace("\x1b[0m", "") for line in text]
    assert max(map(width_of, plain)) <= widest
    assert sum(line.lstrip().startswith("format") for line in plain) == tables


def test_chinese_names_keep_columns_in_line() -> None:
    drawn = table(["名", "n"], [["故事模型", "1"], ["a", "22"]], right="lr").splitlines()
    assert len({*map(width_of, drawn)}) == 1
    assert width_of("é") == width_of("e\u0301") == 1


def test_markdown_has_the_captions(tmp_path: Path) -> None:
    page = render(real("all"), "md").splitlines()
    assert r"speed: llama.cpp pp64 tg8 threads=2" in page
    headings: Sequence[str] = [line for line in page if line.startswith("| format")]
    assert len(headings) == 4 and not any("[" in line.replace("[95 %]", "") for line in headings)
