"""Contradictions of a table with itself: a broken number is found, consistent tables are clean."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import qpipe
from qpipe.published.lint import RULES, Finding, answer, lint, text
from qpipe.published.load import TableFile, load
from qpipe.sizes import predict

TABLE = """\
schema: 1
title: A ladder, consistent with itself
source: {document: A page, revision: null}
metrics:
  size: {unit: GiB, counts: tensors}
  bpw: {}
  ppl: {protocol: llamacpp-512}
  delta: {of: ppl_delta}
  ratio: {of: ppl_ratio}
  worse: {unit: "%", derived: change, parts: [ppl]}
  kld: {}
  mmlu: {of: "acc[mmlu]", unit: "%"}
  ceval: {of: "acc[ceval]", unit: "%"}
  average: {unit: "%", derived: mean, parts: [mmlu, ceval]}
  pp: {hardware: one card}
  tg: {hardware: one card}
shared: {model: OWNER/NAME, recipe: local}
rows:
  - format: F16
    values: {size: 14.96, bpw: 16.0005, ppl: {value: 6.2332, stderr: 0.0378}, mmlu: 70.5,
      ceval: 60.1, average: 65.3, pp: 923.49, tg: 29.17}
  - format: Q8_0
    values: {size: 7.95, bpw: 8.5008, ppl: {value: 6.2343, stderr: 0.0379}, delta: 0.0011,
      ratio: 1.000176, worse: 0.02, kld: 0.001355, mmlu: 70.5, ceval: 60.0, average: 65.2,
      pp: 865.09, tg: 50.93}
  - format: Q4_K_M
    values: {size: 4.58, bpw: 4.8944, ppl: {value: 6.4071, stderr: 0.0391}, delta: 0.1739,
      ratio: 1.027899, worse: 2.79, kld: 0.031273, mmlu: 69.1, ceval: 58.2, average: 63.6,
      pp: 821.81, tg: 71.93}
  - format: Q3_K_L
    values: {size: 4.02, bpw: 4.2979, ppl: {value: 6.7879, stderr: 0.0421}, delta: 0.5547,
      ratio: 1.088991, worse: 8.90, kld: 0.087176, mmlu: 68.1, ceval: 57.2, average: 62.7,
      pp: 761.17, tg: 69.38}
  - format: Q3_K_M
    values: {size: 3.74, bpw: 4.0}
  - format: Q3_K_S
    values: {size: 3.41, bpw: 3.6429, ppl: {value: 7.8638, stderr: 0.0489}, delta: 1.6306,
      ratio: 1.261599, worse: 26.16, kld: 0.228217, mmlu: 60.1, ceval: 50.2, average: 55.1,
      pp: 752.17, tg: 71.68}
"""


def read(folder: Path, text: str) -> TableFile:
    path = folder / "table.yaml"
    path.write_text(text)
    return load(path)


def findings(folder: Path, text: str) -> list[Finding]:
    return lint(read(folder, text))


def test_a_consistent_table_is_clean(tmp_path: Path) -> None:
    assert findings(tmp_path, TABLE) == []


BROKEN = [
    ("ppl: {value: 6.4071", "ppl: {value: 6.2332", "equals_base", 3, "ppl"),
    ("ppl: {value: 6.4071", "ppl: {value: 6.4171", "contradicted_difference", 3, "ppl"),
    ("delta: 0.1739", "delta: 0.1793", "contradicted_difference", 3, "delta"),
    ("ratio: 1.088991", "ratio: 1.089991", "contradicted_difference", 4, "ratio"),
    ("worse: 26.16", "worse: 26.61", "contradicted_difference", 6, "worse"),
    ("ppl: {value: 6.2332", "ppl: {value: 6.2232", "contradicted_difference", 1, "ppl"),
    ("average: 63.6", "average: 63.8", "contradicted_mean", 3, "average"),
    ("mmlu: 68.1", "mmlu: 86.1", "contradicted_mean", 4, "average"),
    ("size: 4.58", "size: 4.85", "size_against_bits", 3, "size"),
    ("bpw: 4.2979", "bpw: 4.3979", "size_against_bits", 4, "size"),
    ("size: 4.02, bpw: 4.2979", "size: 3.72, bpw: 3.977", "size_order", 4, "size"),
    ("pp: 821.81, tg: 71.93", "pp: 865.09, tg: 50.93", "copied_speeds", 2, None),
    ("6.4071, stderr: 0.0391", "6.2343, stderr: 0.0379", "copied_values", 3, "ppl"),
    ("kld: 0.087176", "kld: 0.000000", "impossible_value", 4, "kld"),
    ("mmlu: 60.1, ceval: 50.2, average: 55.1", "mmlu: 601", "impossible_value", 6, "mmlu"),
    ("stderr: 0.0391", "stderr: 0.391", "implausible_stderr", 3, "ppl"),
    ("stderr: 0.0421", "stderr: 0.00421", "implausible_stderr", 4, "ppl"),
    ("  - format: Q3_K_M\n    values: {size: 3.74, bpw: 4.0}\n", "", "missing_row", 5, None),
    ("format: Q8_0", "format: Q4_K_M", "duplicate_row", 3, None),
]


@pytest.mark.parametrize(("old", "new", "kind", "row", "metric"), BROKEN)
def test_one_broken_number_is_found(
    tmp_path: Path, old: str, new: str, kind: str, row: int, metric: str | None
) -> None:
    assert TABLE.count(old) == 1
    found = findings(tmp_path, TABLE.replace(old, new))
    assert (kind, row, metric) in [(each.kind, each.row, each.metric) for each in found]
    line = TABLE.replace(old, new).splitlines()[found[0].line - 1]
    assert (found[0].metric or found[0].format) in line


SECOND = """\
  - {format: F16 (base 2), values: {ppl: 6.2932}}
"""


OTHER_WAY = """\
  - {format: BF16, engine: other, values: {ppl: 7.1000}}
  - {format: GPTQ-Int4, engine: other, values: {ppl: 7.3000, delta: 0.2000, ratio: 1.028169}}
  - {format: Q4_K_M (by hand), values: {size: 5.90, ppl: 6.5000}}
"""


def test_another_way_of_measuring_has_another_base(tmp_path: Path) -> None:
    assert findings(tmp_path, TABLE + OTHER_WAY) == []
    (found,) = findings(tmp_path, TABLE + OTHER_WAY.replace("0.2000", "0.3000"))
    assert (found.kind, found.row, found.metric) == ("contradicted_difference", 8, "delta")


def test_two_types_that_are_one_file_are_no_copies(tmp_path: Path) -> None:
    same = "size: 0.5, ppl: {value: 11.5031, stderr: 0.5336}"
    head = TABLE[: TABLE.index("  - format")].replace("GiB", "MB")
    rows = (
        head
        + f"  - {{format: Q3_K_S, values: {{{same}}}}}\n  - {{format: Q4_0, values: {{{same}}}}}\n"
    )
    assert findings(tmp_path, rows) == []
    (found,) = findings(tmp_path, rows.replace("0.5, ppl", "0.4, ppl", 1))
    assert found.kind == "copied_values"


def test_half_of_a_pair_is_missed_where_others_are_whole(tmp_path: Path) -> None:
    names = ["Q3_K_S", "Q3_K_M", "Q4_K_S", "Q5_K_S", "Q5_K_M"]
    rows = "".join(f"  - {{format: {name}, values: {{tg: 1}}}}\n" for name in names)
    (found,) = findings(tmp_path, TABLE[: TABLE.index("  - format")] + rows)
    assert (found.kind, found.row) == ("missing_row", 3)
    assert "there is no Q4_K_M" in found.words


STORIES = Path(qpipe.__file__).parent / "data" / "stories260K"


@pytest.mark.parametrize("model", [str(STORIES), "'builtin:stories260K'"])
def test_a_size_is_compared_with_a_model_at_hand(tmp_path: Path, model: str) -> None:
    head = TABLE[: TABLE.index("shared")].replace("GiB, counts: tensors", "kB")
    rows = f"shared: {{model: {model}}}\nrows:\n  - {{format: Q8_0, values: {{size: SIZE}}}}\n"
    text = head + rows
    size = predict(STORIES, {"method": "gguf", "type": "Q8_0"}).file_bytes / 1000
    assert findings(tmp_path, text.replace("SIZE", f"{size:.0f}")) == []
    (found,) = findings(tmp_path, text.replace("SIZE", f"{1.03 * size:.0f}"))
    assert found.kind == "size_against_prediction"


def test_a_second_baseline_is_found(tmp_path: Path) -> None:
    (found,) = findings(tmp_path, TABLE + SECOND)
    assert (found.kind, found.row, found.metric) == ("two_baselines", 7, "ppl")
    assert findings(tmp_path, TABLE + SECOND.replace("6.2932", "6.233")) == []


def test_every_rule_is_broken_by_a_test_and_names_its_own_kind(tmp_path: Path) -> None:
    assert {kind for _, _, kind, _, _ in BROKEN} | {
        "two_baselines",
        "size_against_prediction",
    } == set(RULES)


ERRATA = """\
errata:
  - {says: The size is another row's., rows: format=Q4_K_M, metric: size}
"""


def test_errata_tell_what_is_known(tmp_path: Path) -> None:
    broken = TABLE.replace("size: 4.58", "size: 4.85").replace("average: 63.6", "average: 63.8")
    file = read(tmp_path, broken.replace("metrics:", ERRATA + "metrics:"))
    found = lint(file)
    assert [(each.metric, each.known) for each in found] == [("average", False), ("size", True)]
    assert text(file, found).endswith("table: 1 new contradiction (1 known from its errata)")
    assert "row 3 (Q4_K_M), size: 4.85 GiB at 4.8944 bits" in text(file, found)
    assert answer([(file, found)])["tables"][0]["findings"][1]["known"] is True


def test_a_value_that_an_erratum_calls_wrong_is_compared_with_nothing(tmp_path: Path) -> None:
    file = read(tmp_path, TABLE.replace("metrics:", ERRATA + "metrics:"))
    told = {(each.number, each.name): each.not_comparable for each in file.values}
    assert told[3, "size"] == "an error of the source: The size is another row's."
    assert {why for value, why in told.items() if value != (3, "size")} == {None}


def test_the_example_of_the_documentation_is_clean_and_a_broken_number_found(
    tmp_path: Path,
) -> None:
    page = (Path(qpipe.__file__).parents[1] / "docs" / "published.md").read_text()
    example = page.partition("```yaml\n")[2].partition("```")[0]
    assert findings(tmp_path, example) == []
    (found,) = findings(tmp_path, example.replace("value: 11.92", "value: 11.29"))
    assert (found.kind, found.row, found.metric) == ("contradicted_difference", 3, "delta")
    assert "ppl is 11.29, with delta 0.41 it makes a base of 10.88" in found.words
    rules = page.partition("### Contradictions")[2].partition("\nAn erratum")[0]
    assert {line.split("`")[1] for line in rules.splitlines() if line.startswith("| `")} == set(
        RULES
    )


def test_an_erratum_of_another_kind_does_not_excuse(tmp_path: Path) -> None:
    broken = TABLE.replace("size: 4.58", "size: 4.85")
    for errata in (
        ERRATA.replace("metric: size", "kind: size_order"),
        ERRATA.replace("Q4_K_M", "Q3_K_M"),
        ERRATA.replace("metric: size", "metric: ppl"),
        ERRATA.replace("rows: format=Q4_K_M, metric: size", "metric: size"),
    ):
        (found,) = findings(tmp_path, broken.replace("metrics:", errata + "metrics:"))
        assert not found.known


LADDER = ["Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M", "Q6_K"]
BITS = [3.1593, 3.6429, 3.9960, 4.2979, 4.6672, 4.8944, 5.5704, 5.7036, 6.5633]


@given(
    weights=st.floats(1e8, 1e12),
    base=st.floats(2, 40),
    losses=st.lists(st.floats(1e-3, 2), min_size=9, max_size=9, unique=True),
    digits=st.integers(2, 6),
    speeds=st.lists(st.integers(10_000, 99_999), min_size=18, max_size=18, unique=True),
)
def test_consistent_tables_of_any_numbers_are_clean(
    tmp_path_factory: pytest.TempPathFactory,
    weights: float,
    base: float,
    losses: list[float],
    digits: int,
    speeds: list[int],
) -> None:
    losses = sorted(losses, reverse=True)
    rows = [f"  - {{format: F16, values: {{ppl: {base:.{digits}f}}}}}"]
    for at, (name, bits, loss) in enumerate(zip(LADDER, BITS, losses, strict=True)):
        ppl = base * (1 + loss)
        rows.append(
            f"  - {{format: {name}, values: {{size: {weights * bits / 8e9:.2f}, bpw: {bits}, "
            f"ppl: {ppl:.{digits}f}, delta: {ppl - base:.{digits}f}, ratio: {ppl / base:.6f}, "
            f"worse: {100 * loss:.2f}, pp: {speeds[2 * at] / 100}, tg: {speeds[2 * at + 1] / 100}"
            "}}"
        )
    head = TABLE[: TABLE.index("rows:")].replace("GiB", "GB")
    folder = tmp_path_factory.getbasetemp()
    assert findings(folder, "\n".join([head + "rows:", *rows, ""])) == []


BREAKS = {
    "ppl": ("contradicted_difference", 1.02),
    "delta": ("contradicted_difference", 1.5),
    "ratio": ("contradicted_difference", 1.02),
    "size": ("size_against_bits", 1.05),
    "bpw": ("size_against_bits", 1.05),
}


def test_thousands_of_rows_are_looked_through(tmp_path: Path) -> None:
    head = TABLE[: TABLE.index("rows:")] + "rows:\n"
    types = {"Q4_0": 4.1, "Q4_K_M": 4.9, "Q5_K_M": 5.7, "Q8_0": 8.5}
    rows = [(name, size, number) for number in range(1000) for name, size in types.items()]
    rows[2001] = ("Q4_K_M", 6.1, 500)
    text = head + "".join(
        f"  - {{format: {name}, engine: e{number}, values: {{size: {size}}}}}\n"
        for name, size, number in rows
    )
    found = findings(tmp_path, text)
    assert [each.row for each in found if each.kind == "size_order"] == [2002]


@given(
    at=st.integers(0, len(LADDER) - 1),
    metric=st.sampled_from(sorted(BREAKS)),
    base=st.floats(3, 40),
    up=st.booleans(),
)
def test_any_broken_number_is_found_in_its_row(
    tmp_path_factory: pytest.TempPathFactory, at: int, metric: str, base: float, up: bool
) -> None:
    kind, factor = BREAKS[metric]
    rows = [{"format": "F16", "ppl": f"{base:.4f}"}]
    for number, (name, bits) in enumerate(zip(LADDER, BITS, strict=True)):
        ppl = base * (1 + 0.3 / (1 + number))
        values = {
            "size": 8 * bits / 8,
            "bpw": bits,
            "ppl": ppl,
            "delta": ppl - base,
            "ratio": ppl / base,
        }
        if number == at:
            values[metric] *= factor if up else 1 / factor
        rows.append({"format": name} | {key: f"{value:.4f}" for key, value in values.items()})
    head = TABLE[: TABLE.index("rows:")].replace("GiB", "GB") + "rows:\n"
    for row in rows:
        cells = ", ".join(f"{name}: {value}" for name, value in row.items() if name != "format")
        head += f"  - {{format: {row['format']}, values: {{{cells}}}}}\n"
    found = findings(tmp_path_factory.getbasetemp(), head)
    assert (kind, at + 2) in {(each.kind, each.row) for each in found}
