"""A reproduction in every form: within a terminal's width, escaped, with all that cites it."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest

from qpipe.published import render
from qpipe.published.reproduction import Reproduction
from qpipe.session.reproducing.function import repro

TABLE = """\
schema: 1
title: "Sizes of <Llama> | \\e[31mred"
source: {document: A README, revision: null, date: 2024-05-01, url: "https://example.org"}
metrics: {size: {unit: GiB}, bpw: {}, "same | top": {of: bpw}}
shared: {model: meta-llama/Llama-3.1-8B, recipe: local}
errata: [{says: "one <is> wrong"}]
rows:
  - {format: Q4_K_M, overrides: [quantize.type=Q4_K_M], values: {size: 4.58, bpw: 4.8944}}
  - {format: "A format whose name is very long indeed", overrides: [quantize.type=Q8_0],
     values: {size: 5.58, "same | top": 8.5}}
  - {format: none, not_comparable: nobody says why, values: {size: 1}}
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Reproduction:
    file = tmp_path_factory.mktemp("render") / "sizes.yaml"
    file.write_text(TABLE)
    return repro(file, only="sizes")


def test_lines_fit_a_terminal(done: Reproduction) -> None:
    out = io.StringIO()
    render.to_terminal(done, out, 80)
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in out.getvalue()
    assert lines[-1] == "5 values: 3 reproduced, 1 off, 1 not comparable"
    assert any(line.startswith("off: A format") for line in lines)
    assert "no revision" in " ".join(lines)


def test_markdown_has_a_line_for_each_value(done: Reproduction) -> None:
    text = render.render(done, "md")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + 5
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {9}
    assert "\\<Llama\\>" in text


def test_csv_and_json_agree(done: Reproduction) -> None:
    records = [*csv.DictReader(io.StringIO(render.render(done, "csv")))]
    document = json.loads(render.render(done, "json"))
    assert [record["verdict"] for record in records] == [r["verdict"] for r in document["rows"]]
    assert float(records[0]["ours"]) == document["rows"][0]["ours"]
    assert document["tables"][0]["source"]["revision"] is None
    assert document["command"].startswith("qpipe repro ")


def test_the_page_is_whole_and_escaped(done: Reproduction) -> None:
    page = render.render(done, "html")
    assert "&lt;Llama&gt;" in page and "one &lt;is&gt; wrong" in page
    assert "\x1b" not in page
    assert not re.search(r"(src|href)=", page)
    assert "default-src 'none'" in page
    for tag in ("section", "table", "dl", "div", "tr", "td", "th"):
        assert len(re.findall(rf"<{tag}[ >]", page)) == page.count(f"</{tag}>"), tag
    assert page.count('<td class="reproduced">') == 3


def test_names_of_files_of_this_machine_are_not_in_it(done: Reproduction) -> None:
    folder = str(Path(done.tables[0].path).parent)
    for form in ("md", "html"):
        assert folder not in render.render(done, form).replace(done.about["command"], "")
