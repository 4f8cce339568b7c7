"""What nodes, models and jobs are called; the ids stay what they are."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from qpipe.core.graph import Plan
from qpipe.recipe.draft_builder import draft
from qpipe.recipe.load import drive
from qpipe.recipe.model_names import shortest
from qpipe.recipe.planner import plan
from qpipe.recipe.request import InvalidJob, Job, Request
from qpipe.sources.hub_source import HubSource
from qpipe.sources.pinning import Pinner
from tests.recipe.jobs import MODEL

SMALL = Path(__file__).parents[1] / "data" / "models" / "stories260K"
TEXT = "text[tinystories_lower_heldout.txt]"


def commit(hub: HubSource, last: str | None) -> str:
    return hashlib.sha1(hub.label.encode()).hexdigest()


def planned(*overrides: str, recipe: str = "local") -> Plan:
    plans: list[Plan] = []

    def handle(jobs: Sequence[Job | InvalidJob]) -> Sequence[None]:
        pinner = Pinner((Path.cwd(),), Path("/nonexistent"), {}, commit)
        plans.append(plan(draft(jobs), pinner))
        return [None] * len(jobs)

    sweep = any("," in override for override in overrides)
    drive(Request(recipe, overrides, multirun=sweep), handle)
    (made,) = plans
    return made


def names(*overrides: str, recipe: str = "local") -> list[str]:
    return sorted(node.name for node in planned(*overrides, recipe=recipe).graph.values())


def source(*models: object) -> str:
    return "model.source=" + ",".join(str(model).replace(":", r"\:") for model in models)


def test_a_run_says_which_model_and_format() -> None:
    assert names(source(MODEL), "quantize.type=Q4_K_M") == [
        "convert[tinystories-d256]",
        "download[tinystories-d256]",
        "perplexity[tinystories-d256 Q4_K_M]",
        "perplexity_reference[tinystories-d256]",
        "quantize[tinystories-d256 Q4_K_M]",
        TEXT,
        "tokens[tinystories-d256]",
    ]


def test_models_and_levels() -> None:
    made = planned(source(MODEL, SMALL), "quantize.type=Q8_0,Q4_0")
    short = {
        name.replace("tinystories-d256", "a").replace("stories260K", "b") for name in named(made)
    }
    both = ("download", "convert", "tokens", "perplexity_reference")
    levels = [f"{model} {level}" for model in "ab" for level in ("Q8_0", "Q4_0")]
    assert short == {
        *(f"{stage}[{model}]" for stage in both for model in "ab"),
        *(f"{stage}[{level}]" for stage in ("quantize", "perplexity") for level in levels),
        TEXT,
    }
    assert [job.label for job in made.jobs] == ["Q8_0", "Q4_0", "Q8_0", "Q4_0"]
    assert all(len(name) <= 44 for name in named(made))
    models = {node.name: node.made_for for node in made.graph.values()}
    assert models[TEXT] is None
    assert models["tokens[stories260K]"] == "stories260K"


def named(made: Plan) -> list[str]:
    return [node.name for node in made.graph.values()]


def test_a_name_is_part_of_no_id() -> None:
    plain, called = planned(source(SMALL)), planned(source(SMALL), "name=Tiny")
    assert list(plain.graph) == list(called.graph)
    assert "convert[Tiny]" in named(called)
    assert "convert[stories260K]" in named(plain)


def test_the_name_in_the_files_is_the_next_best() -> None:
    assert "convert[Mine]" in names(source(SMALL), "model.name=Mine")
    assert "convert[Ours]" in names(source(SMALL), "model.name=Mine", "name=Ours")


def test_swept_names_share_their_nodes() -> None:
    made = planned(source(SMALL), "name=a,b", "quantize.type=Q8_0,Q4_0")
    assert {node.made_for for node in made.graph.values()} == {"a, b", None}
    assert "quantize[a, b Q4_0]" in named(made)
    assert [job.label for job in made.jobs] == ["Q8_0", "Q4_0", "Q8_0", "Q4_0"]


def test_names_from_a_group(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    for name, path in (("small", SMALL), ("large", MODEL)):
        text = f"# @package _global_\nname: {name}\nmodel: {{source: {path}}}\n"
        (tmp_path / "model" / f"{name}.yaml").write_text(text)
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("defaults: [config, model: small, _self_]\n")
    made = planned("model=small,large", "quantize.type=Q8_0,Q4_0", recipe=str(recipe))
    assert {node.made_for for node in made.graph.values()} == {"small", "large", None}
    assert {job.label for job in made.jobs} == {"Q8_0", "Q4_0"}


def test_two_models_of_one_name_are_told_apart(tmp_path: Path) -> None:
    copies = [tmp_path / user / "m" for user in ("ann", "bob")]
    for number, copy in enumerate(copies):
        shutil.copytree(SMALL, copy)
        (copy / "LICENSE").write_text(f"{number}")
    assert models(source(*copies)) == {"ann/m", "bob/m"}
    assert models(source(*copies), "name=x") == {"x (ann/m)", "x (bob/m)"}
    assert models(source("o/m", "u/m")) == {"o/m", "u/m"}
    pinned = {commit(HubSource("o/m", "model", name, None), None)[:8] for name in "ab"}
    assert models(source("o/m"), "model.revision=a,b") == {f"o/m@{each}" for each in pinned}
    assert models(source(SMALL, MODEL), "name=x") == {"x (stories260K)", "x (tinystories-d256)"}


def models(*overrides: str) -> set[str | None]:
    made = planned(*overrides)
    assert len(set(named(made))) == len(made.graph)
    assert {job.label for job in made.jobs} == {""}
    return {node.made_for for node in made.graph.values()} - {None}


def test_what_is_equal_though_its_paths_differ_is_one_model(tmp_path: Path) -> None:
    shutil.copytree(SMALL, tmp_path / "copy")
    assert models(source(SMALL, tmp_path / "copy")) == {"stories260K, copy"}


def test_nodes_say_what_their_jobs_agree_on() -> None:
    made = names(source(SMALL), "quantize.type=Q8_0,Q4_0", "quantize.via=f16,source")
    assert "convert[stories260K via=f16]" in made
    assert "quantize[stories260K Q4_0 via=source]" in made
    seeds = ("quantize=gptq", "calibration.seed=0,1", "evaluate=none")
    assert "quantize[stories260K gptq seed=1]" in names(source(SMALL), *seeds)


def test_a_gguf_file_is_called_without_its_suffix(tmp_path: Path) -> None:
    file = tmp_path / "Qwen3-8B-F16.gguf"
    file.write_bytes(b"GGUF")
    assert "download[Qwen3-8B-F16]" in names(source(file), "evaluate=none")


def test_texts_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for folder in "ab":
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "t.txt").write_text(folder)
    texts = ",".join(str(tmp_path / folder / "t.txt") for folder in "ab")
    made = names(source(SMALL), f"evaluate.text={texts}")
    assert {"text[a/t.txt]", "text[b/t.txt]"} <= set(made)


@pytest.mark.parametrize(
    ("choices", "short"),
    [
        ({1: ["a", "b"], 2: ["a", "c"], 3: ["d", "e"]}, {1: "b", 2: "c", 3: "d"}),
        ({1: ["a", "b"], 2: ["a", "b", "c"], 3: ["c", "d"]}, {1: "b", 2: "c", 3: "d"}),
        ({1: ["a"], 2: ["a"]}, {1: "a", 2: "a"}),
    ],
)
def test_the_shortest_names(choices: dict[int, Any], short: dict[int, str]) -> None:
    assert shortest(choices) == short
