"""Sizes of published rows are predicted without weights, network, Hydra and torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qpipe.recipe import load
from qpipe.recipe.request import Job, recipe_names
from qpipe.session.reproducing.quantize_fields import NotSimpleError, fields
from tests.cli import called, imported

TABLE = """\
schema: 1
title: Sizes
source: {document: llama-quantize's README, revision: null}
metrics:
  size: {unit: GiB}
  tensors: {of: size, unit: GiB, counts: tensors}
  bpw: {}
  ppl: {protocol: llamacpp-512, overrides: [evaluate=perplexity]}
shared: {model: meta-llama/Llama-3.1-8B, recipe: local}
rows:
  - format: Q4_K_M
    overrides: [quantize.type=Q4_K_M]
    values: {size: 4.58, bpw: 4.8944, tensors: 4.58, ppl: 6.5}
  - format: Q8_0
    overrides: [quantize.type=Q8_0]
    values: {size: 8.95}
  - format: XL
    model: nobody/known
    overrides: [quantize.type=Q8_0]
    values: {size: 1.0}
  - format: composed
    overrides: ["quantize={method: gguf, type: Q8_0}"]
    values: {bpw: 8.5008}
  - format: own config
    model: gone/away
    config: tiny
    overrides: [quantize.type=F16]
    values: {size: {value: 0.01}}
  - format: IQ4_XS
    overrides: [quantize.type=IQ4_XS, imatrix=calibrated]
    values: {bpw: 4.4231}
  - format: IQ4_XS
    overrides: [quantize.type=IQ4_XS]
    values: {bpw: 4.4597}
"""


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("sizes")
    (folder / "sizes.yaml").write_text(TABLE)
    (folder / "tiny").symlink_to(
        Path(__file__).parents[3] / "qpipe" / "data" / "tinystories-d256", target_is_directory=True
    )
    said = called("repro", "sizes.yaml", "--only", "sizes", "--json", cwd=folder)
    assert said.code == 4, said.stderr
    assert not (folder / "outputs").exists()
    found: dict[str, Any] = json.loads(said.stdout)
    return found


def test_sizes_are_judged_by_the_printed_digits(answer: dict[str, Any]) -> None:
    verdicts = [(row["format"], row["metric"], row["verdict"]) for row in answer["rows"]]
    assert verdicts == [
        ("Q4_K_M", "size", "reproduced"),
        ("Q4_K_M", "bpw", "reproduced"),
        ("Q4_K_M", "tensors", "reproduced"),
        ("Q8_0", "size", "off"),
        ("XL", "size", "cannot_run"),
        ("composed", "bpw", "reproduced"),
        ("own config", "size", "reproduced"),
        ("IQ4_XS", "bpw", "reproduced"),
        ("IQ4_XS", "bpw", "reproduced"),
    ]
    assert answer["left_out"] == 1
    assert all(row["predicted"] for row in answer["rows"] if row["ours"] is not None)


def test_a_vocabulary_that_is_not_here_is_a_part_of_the_tolerance(answer: dict[str, Any]) -> None:
    by_metric = {row["metric"]: row["tolerance_parts"] for row in answer["rows"][:3]}
    assert [part["name"] for part in by_metric["size"]] == ["rounding", "prediction"]
    assert [part["name"] for part in by_metric["tensors"]] == ["rounding"]


def test_an_unknown_model_is_told_what_to_give(answer: dict[str, Any]) -> None:
    row = next(row for row in answer["rows"] if row["format"] == "XL")
    assert row["why"] == (
        "the shapes of nobody/known are not known: give its config.json as `config:` in the row or "
        "in shared"
    )


def test_nothing_heavy_is_imported(tmp_path: Path) -> None:
    (tmp_path / "light.yaml").write_text(TABLE.partition("  - format: XL")[0])
    heavy = ("hydra", "omegaconf", "torch", "transformers", "httpx", "huggingface_hub")
    words = ("repro", "light.yaml", "--only", "sizes", "-q")
    answer, names = imported(*words, cwd=tmp_path, names=(*heavy, "qpipe.recipe.schema"))
    assert (answer.code, names) == (4, [])  # one size of the table is off


@pytest.mark.parametrize("recipe", [*recipe_names()[::6], "local"])
def test_fields_are_those_of_the_composed_recipe(recipe: str) -> None:
    given = ["model.source=x"] if recipe == "local" else []
    asked = [[*given], [*given, "quantize=gptq", "quantize.bits=3"], [*given, "quantize=rtn"]]
    for overrides, job in zip(asked, load.compose_each(recipe, asked), strict=True):
        assert isinstance(job, Job)
        try:
            own = fields(recipe, overrides)
        except NotSimpleError:
            continue
        section = job.config["quantize"]
        assert {name: section[name] for name in own} == own
        assert {"method", "bits", "type"} & section.keys() <= own.keys()


def test_a_model_that_is_not_there_is_no_success(tmp_path: Path) -> None:
    text = TABLE[: TABLE.index("  - format: Q8_0")].replace("meta-llama/Llama-3.1-8B", "./gone")
    (tmp_path / "sizes.yaml").write_text(text)
    said = called("repro", "sizes.yaml", "--only", "sizes", cwd=tmp_path)
    assert (said.code, "./gone is not there" in said.stdout) == (1, True)
    planned = called("repro", "sizes.yaml", "--only", "sizes", "--plan", cwd=tmp_path)
    assert planned.code == 0


def test_a_row_of_another_type_than_its_overrides_make_is_not_compared(tmp_path: Path) -> None:
    text = TABLE[: TABLE.index("  - format: Q8_0")].replace("type=Q4_K_M", "type=Q8_0")
    (tmp_path / "t.yaml").write_text(text.replace("meta-llama/Llama-3.1-8B", "builtin:stories260K"))
    said = called("repro", "t.yaml", "--only", "quality", "--plan", cwd=tmp_path)
    assert "the row is of Q4_K_M, and its overrides make Q8_0" in " ".join(said.stdout.split())
