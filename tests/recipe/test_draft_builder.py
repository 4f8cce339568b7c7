from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qpipe.core.graph import Plan
from qpipe.errors import QpipeError, RecipeError
from qpipe.recipe.draft_builder import draft
from qpipe.recipe.planner import plan
from qpipe.sources.pinning import Pinner
from tests.recipe.jobs import TEXT, job, pipeline


def planned(*configs: dict[str, Any], labels: tuple[str, ...] = ("",)) -> Plan:
    jobs = [job(config, label=label) for config, label in zip(configs, labels, strict=True)]
    pinner = Pinner((Path.cwd(),), Path("/nonexistent/hashes"), {}, lambda source, last: "a" * 40)
    return plan(draft(jobs), pinner)


def test_files_named_by_parameters_become_inputs() -> None:
    made = planned(pipeline())
    nodes = {node.name: node for node in made.graph.values()}
    text = nodes["text[tinystories_lower_heldout.txt]"]
    perplexity = nodes["perplexity[test Q8_0]"]
    assert perplexity.inputs == {"model": nodes["quantize[test Q8_0]"].id, "text": text.id}
    assert perplexity.params["text"] == "(input)"


def test_jobs_share_what_they_have_in_common() -> None:
    made = planned(
        pipeline(type="Q8_0"), pipeline(type="Q4_0"), pipeline(type="q4_0"), labels=("8", "4", "4b")
    )
    names = sorted(node.name for node in made.graph.values())
    assert names == sorted(
        [
            "download[test]",
            "convert[test]",
            "text[tinystories_lower_heldout.txt]",
            "reference[test]",
            "quantize[test 8]",
            "quantize[test Q4_0]",
            "perplexity[test 8]",
            "perplexity[test Q4_0]",
        ]
    )
    assert made.jobs[1].nodes == made.jobs[2].nodes
    assert made.jobs[0].reference == made.jobs[0].nodes["convert"]


def test_where_and_how_do_not_enter_ids() -> None:
    plain = planned(pipeline()).graph
    config = pipeline()
    config["stages"]["quantize"]["resources"] = {"cpus": 7, "memory": "3GB"}
    config["stages"]["quantize"]["timeout"] = 5
    config["run"]["timeout"] = 50
    config["executor"] = {"name": "local", "cpus": 3}
    assert list(planned(config).graph) == list(plain)


def test_the_order_of_tensor_rules_counts() -> None:
    rules = {"attn": "Q8_0", "attn_q": "Q4_0"}
    turned = dict(reversed(list(rules.items())))
    assert list(planned(pipeline(tensor_types=rules)).graph) != list(
        planned(pipeline(tensor_types=turned)).graph
    )


def edit(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    config = pipeline()
    change(config)
    return config


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.update(quantise={}), "quantise (recipe.yaml): unknown field; did you mean "
         "'quantize'"),
        (lambda c: c["stages"]["quantize"]["with"].update(tpye="Q4_0"),
         "stages.quantize.with.tpye (recipe.yaml): unknown field; did you mean 'type'"),
        (lambda c: c["stages"]["quantize"]["with"].update(type="Q9_0"), "did you mean"),
        (lambda c: c["stages"]["perplexity"]["with"].update(chunks="many"),
         "stages.perplexity.with.chunks (recipe.yaml): 'many' is not right"),
        (lambda c: c["stages"]["perplexity"]["with"].update(metric="perplexty"),
         "there is no metric 'perplexty'; did you mean 'perplexity'"),
        (lambda c: c["stages"]["quantize"].update(uses="quantise"),
         "there is no stage 'quantise'; did you mean 'quantize'"),
        (lambda c: c["stages"]["quantize"]["needs"].update(model="conver"),
         "needs 'conver', which is no stage of this recipe; did you mean 'convert'"),
        (lambda c: c["stages"]["quantize"].update(needs={}),
         "quantize needs a stage for its input 'model'"),
        (lambda c: c["stages"]["quantize"]["needs"].update(modle="convert"),
         "quantize has no input 'modle'; did you mean 'model'"),
        (lambda c: c["stages"]["convert"]["needs"].update(checkpoint="quantize"),
         "the stages form a cycle: "),
        (lambda c: c["run"].update(reference="convrt"), "did you mean 'convert'"),
        (lambda c: c["model"].update(revision=float("inf")), "quote it: revision: "),
        (lambda c: c["model"].update(revision=1234567), "reads as the int 1234567; quote it"),
        (lambda c: c["model"].update(trust_remote_code=True), "needs the exact commit"),
        (lambda c: c["model"].pop("source"), "model.source: missing"),
        (lambda c: c.update(executor={"memory": "much"}), "executor.memory"),
        (lambda c: c["run"].update(timeout=float("nan")), "run.timeout"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(change: Callable[[dict[str, Any]], object], words: str) -> None:
    with pytest.raises(QpipeError, match=re.escape(words)) as caught:
        planned(edit(change))
    assert caught.value.exit_code == 2


def test_all_wrong_fields_are_named_at_once() -> None:
    config = pipeline()
    config["modle"] = {}
    config["run"]["tiemout"] = 3
    with pytest.raises(QpipeError) as caught:
        planned(config)
    assert len(str(caught.value).splitlines()) == 2


def test_an_error_names_the_field_that_the_user_wrote() -> None:
    config = pipeline(type="Q9_0")
    aliases = {"stages.quantize.with": "quantize"}
    with pytest.raises(QpipeError, match=re.escape("quantize.type (the override 'quantize.type")):
        draft([job(config, aliases=aliases, overrides=("quantize.type=Q9_0",))])


def test_a_field_that_nothing_reads_is_a_typo_unless_its_whole_block_rests() -> None:
    config = pipeline()
    config["evaluate"] = {"text": TEXT, "txet": 1}
    used = frozenset({"evaluate.text"})
    words = re.escape("evaluate.txet (recipe.yaml): no stage of this recipe reads it; did you mean")
    with pytest.raises(QpipeError, match=words):
        draft([job(config, used=used)])
    draft([job(config)])


def test_a_field_that_no_calibration_has_is_a_typo_whichever_stage_reads_the_others() -> None:
    config = pipeline()
    config["calibration"] = {"text": TEXT, "txet": TEXT}
    words = re.escape("calibration.txet (recipe.yaml): unknown field; did you mean 'text'")
    with pytest.raises(QpipeError, match=words):
        draft([job(config, used=frozenset({"calibration", "calibration.text"}))])
    draft([job(config, used=frozenset({"calibration.text", "calibration.txet"}))])


@pytest.mark.parametrize(("written", "size"), [("8GB", 8 * 10**9), ("1GiB", 2**30), (5, 5)])
def test_sizes(written: object, size: int) -> None:
    config = pipeline()
    config["executor"] = {"memory": written}
    assert draft([job(config)])["executor"]["memory"] == size


def test_a_text_where_a_mapping_belongs_is_told_how_to_be_written() -> None:
    with pytest.raises(RecipeError, match=r'quantize.*=\[\["\^a\$",Q8_0\]\]'):
        planned(pipeline(tensor_types="{^a$: Q8_0}"))


def test_no_reference_measures_the_quantized_model_alone() -> None:
    config = pipeline()
    config["stages"]["reference"]["needs"] = {"model": None}
    config["stages"]["tokens"] = {
        "uses": "tokens",
        "needs": {"model": [None, "quantize"]},
        "with": {"text": TEXT},
    }
    config["run"] = {"reference": None}
    made = planned(config)
    names = {node.name: node for node in made.graph.values()}
    assert not any(name.startswith("reference") for name in names)
    assert names["tokens[test Q8_0]"].inputs["model"] == names["quantize[test Q8_0]"].id
    assert made.jobs[0].reference is None


def test_what_a_reference_would_make_is_missed() -> None:
    config = pipeline()
    config["stages"]["convert"]["needs"] = {"checkpoint": None}
    with pytest.raises(RecipeError, match=r"needs.model .*'convert' has nothing to work on"):
        planned(config)


def test_an_override_of_what_nothing_reads_is_told() -> None:
    config = pipeline()
    config["stages"]["calibrate"] = {"uses": "calibrate", "optional": True}
    aliases = {"stages.calibrate.with": "calibration"}
    overrides = ("calibration.samples=4",)
    idle = job(config, aliases=aliases, overrides=overrides)
    (note,) = draft([idle])["notes"]
    assert (
        note == "the override 'calibration.samples=4' has no effect: nothing here reads calibration"
    )
    calibrated = {**aliases, "stages.quantize.with.imatrix": "calibration.text"}
    swept = [idle, job(config, aliases=calibrated, overrides=overrides)]
    assert draft(swept)["notes"] == []
