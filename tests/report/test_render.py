from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from qpipe.report.render import render, to_terminal
from qpipe.report.rows import comparison
from qpipe.report.run_record import document
from qpipe.report.runs import merge, summary
from qpipe.results import record
from qpipe.results.comparison import Comparison
from qpipe.results.sampling import Sampling
from tests.report.plans import carry_out, demo, gguf, job, perplexity, plan, text


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    planned = demo()
    return comparison(planned, carry_out(planned, tmp_path_factory.mktemp("store")))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_table(made: Comparison) -> None:
    out = io.StringIO()
    to_terminal(made, out)
    lines = out.getvalue().splitlines()
    assert lines[0] == "perplexity: llamacpp-512 on text.txt; 300 tokens scored"
    assert re.split("  +", lines[1]) == [
        "format", "size", "bpw", "ppl ± stderr", "Δ ppl",
    ]  # fmt: skip
    assert re.split("  +", lines[2]) == [
        "F16", "1.95 KiB", "16.000", "10.0000 ± 0.2500", "—",
    ]  # fmt: skip
    assert lines[3].split()[-2:] == ["+0.5000", "(+5.00%)"]
    assert lines[5:] == ["", "by llama.cpp 1; Abacus 3000, 2 cores, Linux 6"]
    assert "\x1b" not in out.getvalue()


def test_a_model_measured_on_a_part_of_the_text_is_named(made: Comparison) -> None:
    """Each takes what it needs, and its line would not tell whose it is."""
    sampled = []
    for row, taken in zip(made.rows, (100, 200), strict=False):
        (only,) = row.measurements
        sampling = Sampling(f"{taken} of 300 tokens were enough")
        only = replace(only, measurement=replace(only.measurement, sampling=sampling))
        sampled.append(replace(row, measurements=(only,)))
    out = io.StringIO()
    to_terminal(Comparison.of(sampled), out)
    for name, taken in zip([row.name for row in sampled], (100, 200), strict=True):
        line = f"{name}, perplexity: {taken} of 300 tokens were enough"
        assert line in out.getvalue().splitlines()


def test_terminal_table_has_the_same_cells(
    made: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    plain, rich = io.StringIO(), Terminal()
    to_terminal(made, plain)
    to_terminal(made, rich)
    bare = re.sub(r"\x1b\[[0-9;]*m", "", rich.getvalue())
    assert "\x1b[" in rich.getvalue()
    for line in plain.getvalue().splitlines():
        assert line.split() in [other.split() for other in bare.splitlines()]


def test_no_color(made: Comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    out = Terminal()
    to_terminal(made, out)
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", out.getvalue()), "a colour was set"


def test_dumb_terminal(made: Comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    out = Terminal()
    to_terminal(made, out)
    assert "\x1b" not in out.getvalue()


def test_markdown_is_a_table(made: Comparison) -> None:
    lines = render(made, "md", title="demo").splitlines()
    assert lines[0] == "# demo"
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 2 + 3
    assert {line.count("|") for line in table} == {6}
    assert "| Q8_0 | 0.98 KiB | 8.500 | 10.5000 ± 0.2500 | +0.5000 (+5.00%) |" in table


def test_csv_reads_back(made: Comparison) -> None:
    read = list(csv.DictReader(io.StringIO(render(made, "csv"))))
    assert [float(row["ppl"]) for row in read] == [10.0, 10.5, 12.0]
    assert read[0]["ppl_delta"] == ""
    assert read[1]["overrides"] == "quantize.type=Q8_0"
    assert "measurements" not in read[0]
    named = Comparison.of([replace(row, model="tiny") for row in made.rows])
    lines = render(named, "csv").splitlines()
    assert [line.split(",")[:2] for line in lines[:2]] == [["model", "name"], ["tiny", "F16"]]


def test_json_reads_back(made: Comparison) -> None:
    assert json.loads(render(made, "json"))["rows"] == record.rows(made)


class Table(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.open: list[str] = []
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.outside += [v for name, v in attrs if name in ("src", "href") and v and v[0] != "#"]
        if tag not in ("meta", "input"):
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, "tags are closed in order"

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & {*self.open[-2:]}:
            self.rows[-1][-1] += data


def test_html_is_a_whole_page_with_a_real_table(made: Comparison) -> None:
    made = Comparison.of([replace(made.rows[0], name="<script>"), *made.rows[1:]])
    page = render(made, "html", title="a & b")
    parsed = Table()
    parsed.feed(page)
    assert not parsed.open
    assert not parsed.outside, "nothing is loaded from elsewhere"
    assert [row[0] for row in parsed.rows] == ["name", "<script>", "Q8_0", "Q4_0"]
    assert len({len(row) for row in parsed.rows}) == 1
    assert "<title>a &amp; b</title>" in page
    assert "prefers-color-scheme: dark" in page


def test_nothing_made() -> None:
    out = io.StringIO()
    to_terminal(Comparison(), out)
    assert "nothing to compare" in out.getvalue()
    for form in ("md", "csv", "json", "html"):
        assert render(Comparison(), form).endswith("\n")


def test_warnings_and_failures_stand_below(tmp_path: Path) -> None:
    model, on = gguf("F16", size=2, bpw=16.0), text()
    bad = gguf("Q4_0", size=1, bpw=4.5, source=model, fails="broken\nsecond line")
    measured = perplexity(model, 8.0, on)
    facts = measured.params["facts"]
    assert isinstance(facts, dict)
    facts["notes"] = ["windows are too long"]
    planned = plan(
        job("", {"convert": model, "quantize": bad, "text": on, "p": measured}, reference=model)
    )
    out = io.StringIO()
    to_terminal(comparison(planned, carry_out(planned, tmp_path)), out)
    assert "note: windows are too long" in out.getvalue().splitlines()
    assert "failed: Q4_0: quantize[Q4_0]: broken" in out.getvalue().splitlines()


def test_merging_runs_keeps_protocols_apart(tmp_path: Path) -> None:
    summaries = []
    for protocol, ppl in (("llamacpp-512", 8.0), ("other-2048", 6.0)):
        model, on = gguf("F16", size=2, bpw=16.0), text()
        measured = perplexity(model, ppl, on, protocol=protocol)
        planned = plan(job("", {"convert": model, "text": on, "p": measured}, reference=model))
        result = carry_out(planned, tmp_path)
        made = document(
            protocol, result.status, planned, result.outcomes, comparison(planned, result)
        )
        summaries.append(summary(made, Path("run.json")))
    (row,) = record.rows(merge(summaries))
    assert row["ppl[llamacpp-512]"] == 8.0
    assert row["ppl[other-2048]"] == 6.0
    assert row["run"] == "other-2048"
    assert merge([summaries[0]]).rows[0].scores["ppl"].value == 8.0
