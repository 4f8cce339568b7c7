"""``run.reference`` as a model, and ``quantize=none`` of one that is quantized already."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from qpipe.core.graph import Node, Plan
from qpipe.errors import RecipeError
from qpipe.recipe.draft_builder import draft
from qpipe.recipe.planner import plan
from qpipe.sources.hub_source import HubSource
from qpipe.sources.pinning import Pinner
from tests.recipe.composing import single, sweep

STORIES = "builtin:stories260K"
FOLDER = Path(__file__).parents[1] / "data" / "models" / "stories260K"


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """A checkpoint whose config.json says that it is quantized."""
    shutil.copytree(FOLDER, tmp_path / "w4")
    file = tmp_path / "w4" / "config.json"
    config = json.loads(file.read_text()) | {"quantization_config": {"quant_method": "gptq"}}
    file.write_text(json.dumps(config))
    return tmp_path / "w4"


def planned(
    source: str, *overrides: str, told: list[str] | None = None, models: Sequence[str] = ()
) -> Plan:
    given = ("text=tinystories", *overrides)
    if models:
        jobs = sweep("local", f"model.source={','.join(models)}", *given)
    else:
        jobs = [single("local", f"model.source={source}", *given)]
    pinner = Pinner((Path.cwd(),), Path("/nonexistent/hashes"), {}, lambda source, last: "a" * 40)
    return plan(draft(jobs), pinner, (told if told is not None else []).append)


def stage(made: Plan, name: str) -> Node:
    (node,) = {job.nodes[name] for job in made.jobs}
    return made.graph[node]


def test_a_model_as_reference_is_fetched_and_measured_in_the_same_container(packed: Path) -> None:
    made = planned(str(packed), "quantize=none", f"run.reference={STORIES}")
    original, measured = stage(made, "original"), stage(made, "perplexity_reference")
    assert original.params == {"to": "checkpoint", "engine": "cast", "dtype": "source"}
    assert made.jobs[0].reference == measured.inputs["model"] == original.id
    assert stage(made, "tokens").inputs["model"] == original.id
    checked = stage(made, "same_tokens")
    assert stage(made, "perplexity").inputs["tokens"] == checked.id
    assert checked.inputs["reference"] == stage(made, "tokens").id
    assert checked.inputs["model"] == stage(made, "download").id
    as_gguf = planned(STORIES, "quantize.type=Q4_0", f"run.reference={FOLDER}")
    assert stage(as_gguf, "original").params["outtype"] == "f16"
    assert stage(as_gguf, "perplexity_reference").params["backend"] == "llama.cpp"


def test_a_sweep_of_checkpoints_measures_the_reference_once(packed: Path) -> None:
    shutil.copytree(packed, other := packed.with_name("w3"))
    (other / "README.md").write_text("---\nlicense: mit\n---\n")
    both = [str(packed), str(other)]
    made = planned("", "quantize=none", f"run.reference={STORIES}", models=both)
    assert len({job.nodes["perplexity"] for job in made.jobs}) == 2
    names = [node.name for node in made.graph.values()]
    assert names.count("perplexity_reference[stories260K]") == 1
    assert {"quantize[w3]", "quantize[w4]", "original[stories260K]"} <= set(names)


@pytest.mark.parametrize(
    ("reference", "repo", "revision"),
    [
        ("Owner/Name@v1.0", "Owner/Name", "v1.0"),
        ("Owner/Name@refs/pr/3", "Owner/Name", "refs/pr/3"),
        ("Owner/Name", "Owner/Name", "main"),
        ("hf:Owner/Name@v2", "Owner/Name", "v2"),
    ],
)
def test_a_repository_is_pinned_at_the_revision_that_it_names(
    reference: str, repo: str, revision: str
) -> None:
    asked: list[HubSource] = []
    job = single(
        "local", f"model.source={FOLDER}", "quantize=none", "text=tinystories",
        f"run.reference={reference}",
    )  # fmt: skip

    def resolve(source: HubSource, last: str | None) -> str:
        asked.append(source)
        return "b" * 40

    made = plan(draft([job]), Pinner((Path.cwd(),), Path("/nonexistent/hashes"), {}, resolve))
    params = stage(made, "original_download").params
    assert (params["repo"], params["commit"]) == (repo, "b" * 40)
    assert [source.label for source in asked] == [f"model:{repo}@{revision}"]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["run.reference=orig"], "'orig' is no stage of this recipe, and no model either"),
        (["run.reference=./q4.gguf", "quantize.dtype=source"], "q4.gguf is a GGUF file, and what"),
        (["run.reference=./m", "+stages.original={uses: download}"], "brings the stage 'original'"),
    ],
)
def test_other_references_are_refused(overrides: list[str], words: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(words)):
        planned(str(FOLDER), "quantize=none", *overrides)


def test_a_quantized_source_is_measured_as_it_is_unless_a_setting_says_otherwise(
    packed: Path,
) -> None:
    told: list[str] = []
    as_it_is = stage(planned(str(packed), "quantize=none", told=told), "quantize")
    assert as_it_is.params == {"to": "checkpoint", "engine": "cast", "dtype": "source"}
    assert [note.split(";")[0] for note in told] == [
        "quantize=none: w4 is quantized already (gptq) and measured as it is"
    ]
    said = stage(planned(str(packed), "quantize=none", "quantize.dtype=source"), "quantize")
    assert said.id == as_it_is.id
    for setting, precision in (("via=f16", "f16"), ("via=source", "source")):
        made = stage(planned(str(packed), "quantize=none", f"quantize.{setting}"), "quantize")
        assert made.params["outtype"] == precision
    plain = stage(planned(str(FOLDER), "quantize=none"), "quantize")
    assert plain.params["outtype"] == "f16"
    cast = stage(planned(str(packed), "quantize=none", "quantize.dtype=bf16"), "quantize")
    assert cast.params["dtype"] == "bf16"


def test_settings_that_fit_one_of_both_forms_alone_are_held_against_the_model(packed: Path) -> None:
    """A plain model becomes a GGUF file, and a quantized one stays a checkpoint."""
    of_gguf, of_checkpoint = "evaluate.backend=llama.cpp", "evaluate.dtype=float32"
    plain = planned(str(FOLDER), "quantize=none", of_gguf)
    assert stage(plain, "quantize").params["to"] == "gguf"
    as_it_is = planned(str(packed), "quantize=none", of_checkpoint, f"run.reference={STORIES}")
    assert stage(as_it_is, "quantize").params["to"] == "checkpoint"
    assert stage(as_it_is, "perplexity_reference").params["dtype"] == "float32"
    with pytest.raises(RecipeError, match=r"of format 'checkpoint'.*w4 is quantized already"):
        planned(str(packed), "quantize=none", of_gguf)
    with pytest.raises(RecipeError, match="settings of backend transformers"):
        planned(str(FOLDER), "quantize=none", of_checkpoint)
    with pytest.raises(RecipeError, match="settings of backend transformers"):
        planned(str(packed), "quantize=none", of_checkpoint, of_gguf)


def test_numbers_that_transformers_does_not_compute_become_a_gguf_file(packed: Path) -> None:
    file = packed / "config.json"
    file.write_text(file.read_text().replace('"gptq"', '"modelopt"'))
    made = stage(planned(str(packed), "quantize=none"), "quantize")
    assert made.params["outtype"] == "f16"
