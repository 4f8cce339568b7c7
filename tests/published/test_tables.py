"""The tables that ship: values as their sources print them, known errors found by data alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from qpipe.published.lint import lint
from qpipe.published.load import TableFile, load, shipped_tables
from qpipe.recipe.request import InvalidJob, recipe_names

VALUES = Path(__file__).parent.parent / "data" / "published" / "values.tsv"
"""Table, model, metric, and FORMAT=VALUE of 726 values, taken down apart from the tables."""

NAMES = sorted(shipped_tables())

ERRORS = [
    ("llamacpp-quantize-llama-3.1-8b", "missing_row", "Q3_K_S", None),
    ("llamacpp-quantize-llama-3.1-8b", "duplicate_row", "Q4_K_S", None),
    ("llamacpp-quantize-llama-3.1-8b", "copied_speeds", "IQ4_NL", None),
    ("llamacpp-perplexity-llama-2-7b", "contradicted_difference", "q2_K", "ppl"),
    ("llamacpp-perplexity-llama-2-7b", "equals_base", "q2_K", "ppl"),
    ("llamacpp-perplexity-llama-3-8b", "copied_values", "q4_1", "mean_dp"),
    ("llamacpp-perplexity-llama-3-8b", "copied_values", "iq1_S", "mean_dp"),
    ("llamacpp-perplexity-llama-3-8b", "size_against_prediction", "q2_K_S", "size"),
    ("qwen2.5-7b-gguf", "size_against_prediction", "Q8_0", "size"),
    ("autoround-gguf", "two_baselines", "BF16 (Base 2)", None),
]
"""Errors of the sources: table, kind of finding, format, metric."""


@cache
def table(name: str) -> TableFile:
    return load(shipped_tables()[name])


def test_every_value_is_there_with_its_digits() -> None:
    count = 0
    for line in VALUES.read_text().splitlines():
        name, model, metric, *cells = line.split("\t")
        metric, _, field = metric.partition(".")
        for cell in cells:
            count += 1
            form, _, printed = cell.rpartition("=")
            there = [
                str(getattr(each.printed, field or "value"))
                for each in table(name).values
                if (each.row.model, each.row.format, each.name) == (model, form, metric)
            ]
            assert printed.upper().replace("E", "E+") in there or printed in there, (line, cell)
    assert count == 730  # of these two times four are one time each: minutes and seconds


@pytest.mark.parametrize("name", NAMES)
def test_a_source_is_cited_and_what_has_no_protocol_says_why(name: str) -> None:
    from qpipe.evaluators.text.protocols import PROTOCOLS

    read = table(name)
    assert read.table.source.revision or read.table.source.note or read.table.note
    for value in read.values:
        protocol = value.metric.protocol
        assert protocol is None or protocol.split()[0] in {*PROTOCOLS, "lm-eval"}
        assert value.recipe or value.not_comparable, (name, value.number, value.name)


@pytest.mark.parametrize(("name", "kind", "form", "metric"), ERRORS)
def test_errors_of_sources_are_found_from_the_numbers_alone(
    name: str, kind: str, form: str, metric: str | None
) -> None:
    read = table(name)
    unaware = replace(read, table=read.table.model_copy(update={"errata": ()}))
    found = [(each.kind, each.format, each.metric, each.known) for each in lint(unaware)]
    assert (kind, form, metric, False) in found


@pytest.mark.parametrize("name", NAMES)
def test_nothing_else_is_found(name: str) -> None:
    found = lint(table(name))
    assert [each.words for each in found if not each.known] == []
    assert {each.kind for each in found} == {kind for of, kind, *_ in ERRORS if of == name}


def jobs() -> dict[str, list[tuple[str, ...]]]:
    """The distinct overrides of each recipe that rows name which are comparable."""
    found: dict[str, dict[tuple[str, ...], None]] = {}
    for name in NAMES:
        for value in table(name).values:
            if value.recipe and not value.not_comparable:
                found.setdefault(value.recipe, {})[value.overrides] = None
    return {recipe: [*each] for recipe, each in found.items()}


def composes(recipe: str, overrides: Sequence[tuple[str, ...]]) -> None:
    from qpipe.recipe.load import compose_each

    model = ("model.source=OWNER/NAME",) if recipe == "local" else ()
    jobs = compose_each(recipe, [(*model, *each) for each in overrides])
    assert [job for job in jobs if isinstance(job, InvalidJob)] == []


def test_recipes_that_rows_name_ship() -> None:
    assert jobs().keys() <= set(recipe_names())


def test_overrides_of_each_method_compose() -> None:
    by_method: dict[str, tuple[str, ...]] = {}
    for overrides in jobs()["local"]:
        by_method.setdefault(overrides[0], overrides)
    composes("local", [*by_method.values()])


@pytest.mark.soak
@pytest.mark.parametrize("recipe", sorted(jobs()))
def test_all_overrides_compose(recipe: str) -> None:
    composes(recipe, jobs()[recipe])
