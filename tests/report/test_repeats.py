"""Repeats of one setting with other seeds: one line with their mean, the single ones below."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import replace

from qpipe.report.blocks import blocks
from qpipe.report.render import render
from qpipe.report.repeats import repeats
from qpipe.results.comparison import Comparison, ModelRow
from qpipe.results.measurement import Evaluation, Measurement
from qpipe.results.scores import Difference, score


def row(name: str, ppl: float, *overrides: str, form: str = "GPTQ", model: str = "m") -> ModelRow:
    measured = Measurement(
        "llamacpp-512", (score("ppl", ppl, stderr=0.1, delta=Difference(ppl - 8.0)),)
    )
    return ModelRow(
        name,
        form,
        "ran",
        model=model,
        reference=not overrides,
        size_bytes=1_000_000,
        bits_per_weight=4.0 + ppl / 100,
        overrides=overrides,
        measurements=(Evaluation("p", "perplexity", "ran", measured),),
    )


SWEEP = Comparison.of(
    [
        row("F16", 8.0, form="F16"),
        row("bits=4 seed=0", 9.0, "quantize.bits=4", "calibration.seed=0"),
        row("bits=3 seed=0", 11.0, "quantize.bits=3", "calibration.seed=0"),
        row("bits=4 seed=1", 9.5, "quantize.bits=4", "calibration.seed=1"),
        row("bits=3 seed=1", 11.0, "quantize.bits=3", "calibration.seed=1"),
        row("bits=4 seed=2", 10.0, "quantize.bits=4", "calibration.seed=2"),
    ]
)


def test_one_line_each_with_the_single_ones_below() -> None:
    (block,) = blocks(SWEEP)
    assert [line[0] for line in block.body] == [
        *("F16", "bits=4 ×3", "  seed=0", "  seed=1", "  seed=2"),
        *("bits=3 ×2", "  seed=0", "  seed=1"),
    ]
    assert block.strong == {0}
    by_name = {line[0]: dict(zip(block.head, line, strict=True)) for line in block.body}
    mean = by_name["bits=4 ×3"]
    # 9, 9.5 and 10: mean 9.5, standard deviation 0.5.
    assert mean["ppl ± stderr"] == "9.5000 ± 0.5000 sd"
    assert mean["Δ ppl"] == "+1.5000 ± 0.5000 sd"
    assert mean["bpw"] == "4.095 ± 0.005 sd"
    assert (mean["format"], mean["size"]) == ("GPTQ", "977 KiB"), "what is equal is said once"
    assert by_name["bits=3 ×2"]["ppl ± stderr"] == "11.0000 ± 0.0000 sd"
    assert by_name["  seed=2"]["ppl ± stderr"] == "10.0000 ± 0.1000"


def test_sizes_that_differ_and_long_names() -> None:
    """Figures come before what formats are called, once names tell the rows apart."""
    rows = [
        replace(each, size_bytes=1_000_000 + 20_000 * n, format="GPTQ-4bit-g64" * 2)
        for n, each in enumerate(SWEEP.rows[1:4:2])
    ]
    first, *others = blocks(Comparison.of(rows), width=80)
    assert not others and first.head == ["name", "size", "ppl ± stderr", "Δ ppl"]
    assert first.body[0][1] == "986 KiB ± 13.8 KiB sd"


def test_only_rows_that_differ_in_a_seed_alone_are_repeats() -> None:
    def groups(*rows: ModelRow) -> list[tuple[str, int]]:
        return [(each.name, len(each.members)) for each in repeats(rows)]

    one = row("seed=0", 9.0, "calibration.seed=0")
    assert groups(one, row("seed=1", 9.0, "calibration.seed=1")) == [("GPTQ", 2)]
    assert groups(one) == []
    assert groups(one, row("seed=1", 9.0, "calibration.seed=1", model="other")) == []
    assert groups(one, row("seed=1", 9.0, "calibration.seed=1", "a=1")) == []
    assert groups(one, row("seed=1", 9.0, "calibration.seed=1", form="AWQ")) == []
    assert groups(row("a", 9.0, "a=1"), row("b", 9.0, "a=2")) == []
    # Two of a command, called after their runs.
    runs = row("GPTQ run-1", 9.0, "+vars.seed=1"), row("GPTQ run-2", 9.0, "+vars.seed=2")
    (group,) = repeats(runs)
    assert (group.name, group.members) == ("GPTQ", [0, 1])


def test_a_line_says_what_sd_is() -> None:
    page = render(SWEEP, "md").splitlines()
    assert "- sd: mean and standard deviation over the seeds below" in page
    assert "- sd: " not in render(Comparison.of(SWEEP.rows[:3]), "md")


def test_json_has_them_and_csv_keeps_the_single_rows() -> None:
    document = json.loads(render(SWEEP, "json"))
    assert len(document["rows"]) == 6
    first = document["repeats"][0]
    assert first["rows"] == ["bits=4 seed=0", "bits=4 seed=1", "bits=4 seed=2"]
    assert (first["name"], first["model"]) == ("bits=4", "m")
    assert first["scores"]["ppl"] == {"mean": 9.5, "sd": 0.5, "n": 3}
    assert math.isclose(first["scores"]["ppl_delta"]["mean"], 1.5)
    assert document["repeats"][1]["scores"]["ppl"]["sd"] == 0
    assert len(list(csv.DictReader(io.StringIO(render(SWEEP, "csv"))))) == 6
    assert "bits=4 ×3" in render(SWEEP, "md")


def test_the_page_has_means_in_the_foot_of_its_table() -> None:
    """Where they are neither sorted nor filtered; every single row is a row of its own above."""
    page = render(SWEEP, "html", title="t")
    body, foot = page.partition("<tbody>")[2].partition("</tbody>")[::2]
    assert body.count("<tr") == len(SWEEP.rows) and "seed=1" in body
    foot = foot.partition("<tfoot>")[2].partition("</tfoot>")[0]
    assert foot.count("<tr>") == 2
    assert '<th scope="row">bits=4 ×3</th>' in foot and "9.5000 ± 0.5000 sd" in foot
    assert "<tfoot>" not in render(Comparison.of([SWEEP.rows[0]]), "html", title="t")
