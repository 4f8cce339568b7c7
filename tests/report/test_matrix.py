"""Several models at the same levels: a table of levels by models."""

from __future__ import annotations

import io
from dataclasses import replace

from qpipe.report.blocks import Block
from qpipe.report.matrix import matrix
from qpipe.report.render import render, to_terminal
from qpipe.report.table import by_model
from qpipe.report.text import width_of
from qpipe.results.comparison import Comparison, ModelRow
from qpipe.results.measurement import Evaluation, Measurement
from qpipe.results.scores import Difference, Score, score
from tests.report.html.sweeps import LEVELS, sweep


def row(model: str, name: str, *scores: Score, **more: str) -> ModelRow:
    measured = Measurement("p", scores)
    made = ModelRow(name, name, "ran", reference=name == "F16", model=model, artifact="/a")
    return replace(
        made,
        measurements=(Evaluation("e", "e", "ran", measured),),
        **more,  # type: ignore[arg-type]
    )


def cells(*rows: ModelRow) -> list[list[str]]:
    (block,) = matrix(by_model(Comparison.of(rows)))
    return [block.head, *block.body]


def tables(made: Comparison, width: int | None = None) -> list[Block]:
    return matrix(by_model(made), width=width)


def test_divergence_of_each_level_and_model() -> None:
    (block,) = tables(sweep({"small": 10_000_000, "large": 20_000_000}))
    assert block.caption == "all models: kld"
    assert block.head == ["level", "small", "large"]
    assert [line[0] for line in block.body] == [*LEVELS]
    assert block.body[0] == ["Q8_0", "0.000400", "0.000400"]


def test_one_model_or_no_common_level_has_none() -> None:
    assert tables(sweep({"small": 10_000_000})) == []
    one, other = row("a", "Q8_0", score("kld", 0.1)), row("b", "Q4_0", score("kld", 0.2))
    assert tables(Comparison.of([one, other])) == []
    assert tables(Comparison.of([one, row("b", "Q8_0", score("ppl", 9.0))])) == []
    assert tables(Comparison.of([one, row("b", "Q8_0")])) == []


def test_a_level_that_a_model_lacks_is_empty_and_noise_is_marked() -> None:
    shown = cells(
        row("a", "F16", score("kld_noise", -1e-6)),
        row("a", "Q8_0", score("kld", 5e-7)),
        row("a", "Q4_0", score("kld", 0.02)),
        row("b", "Q8_0", score("kld", 5e-7)),
    )
    assert shown == [
        ["level", "a", "b"],
        ["Q8_0", "5.00e-07 n.s.", "5.00e-07"],
        ["Q4_0", "0.0200", ""],
    ]


def test_without_divergence_it_is_the_relative_difference() -> None:
    def ppl(value: float, half: float) -> Score:
        delta = value - 8.0
        return score("ppl", value, delta=Difference(delta, low=delta - half, high=delta + half))

    rows = [
        *(row(model, "F16", score("ppl", 8.0)) for model in "ab"),
        row("a", "Q8_0", ppl(8.02, 0.03)),
        row("a", "Q4_0", ppl(8.4, 0.03)),
        row("b", "Q8_0", ppl(8.04, 0.03)),
        row("b", "Q4_0", ppl(8.04, 0.03), same_as="Q8_0"),
    ]
    (block,) = tables(Comparison.of(rows))
    assert block.caption == "all models: Δ ppl in % of the reference's"
    assert block.body == [["Q8_0", "+0.25% n.s.", "+0.50%"], ["Q4_0", "+5.00%", "= Q8_0"]]


def test_many_models_stand_in_several_tables_of_80_columns() -> None:
    many = sweep({f"a-model-with-a-name-{n}": 10_000_000 for n in range(5)})
    parts = tables(many, width=80)
    assert len(parts) == 2 and all(part.head[0] == "level" for part in parts)
    assert sorted(name for part in parts for name in part.head[1:]) == sorted(by_model(many))
    out = io.StringIO()
    made = Comparison.of([replace(each, artifact="/a") for each in many.rows])
    to_terminal(made, out)
    assert max(map(width_of, out.getvalue().splitlines())) <= 80
    assert "all models: kld" in out.getvalue().splitlines()
    assert render(made, "md").splitlines()[2] == "all models: kld"
