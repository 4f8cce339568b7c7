"""Where stages compute: what `device` comes to on machines with GPUs and without."""

from __future__ import annotations

from typing import Any

import pytest

from qpipe.errors import RecipeError
from qpipe.machine import gpus
from qpipe.recipe.draft import StageDraft
from qpipe.recipe.draft_builder import draft
from tests.recipe.composing import single

MODEL = "model.source=builtin:tinystories-d256"

# The engines that can compute on either, by the overrides that choose them.
EITHER = [
    ("quantize=autoround",),
    ("quantize=awq",),
    ("quantize=awq", "quantize.engine=autoawq"),
    ("quantize=bnb",),
    ("quantize=gptq",),
    ("quantize=gptq", "quantize.engine=llmcompressor"),
    ("quantize=int8",),
    ("quantize=int8", "quantize.engine=llmcompressor"),
    ("quantize=rtn",),
]
ALONE = [
    ("quantize=awq", "quantize.engine=llmcompressor"),
    ("quantize=exl2",),
    ("quantize=gptq", "quantize.engine=auto-gptq"),
]
METRICS = ["kld", "perplexity", "speed", "tasks"]


@pytest.fixture
def visible(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The GPUs of the machine: to be filled."""
    names: list[str] = []
    monkeypatch.setattr(gpus, "visible", lambda: names)
    return names


def stages(*overrides: str) -> dict[str, StageDraft]:
    """The stages of a recipe with these overrides, by name."""
    drafted = draft([single("local", MODEL, *overrides)])
    return {stage["name"]: stage for stage in drafted["jobs"][0]["stages"]}


def where(stage: StageDraft) -> tuple[Any, int]:
    """The device in the key, None if there is none, and the GPUs that are booked."""
    return stage["params"].get("device"), stage["resources"]["gpus"]


@pytest.mark.parametrize("overrides", EITHER, ids=" ".join)
def test_engines_take_the_gpu_that_is_there(visible: list[str], overrides: tuple[str, ...]) -> None:
    named = (*overrides, "evaluate=none")
    on_cpu = stages(*named)["quantize"]
    assert where(on_cpu) == (None, 0)
    visible.append("0")
    on_gpu = stages(*named)["quantize"]
    assert where(on_gpu) == ("cuda", 1)
    assert on_cpu["params"] == {n: v for n, v in on_gpu["params"].items() if n != "device"}
    assert stages(*named, "quantize.device=cpu")["quantize"] == on_cpu
    assert stages(*named, "quantize.device=cuda")["quantize"] == on_gpu


@pytest.mark.parametrize("overrides", ALONE, ids=" ".join)
def test_engines_that_have_no_choice(visible: list[str], overrides: tuple[str, ...]) -> None:
    named = (*overrides, "evaluate=none")
    assert where(stages(*named)["quantize"]) == (None, 1)
    visible.append("0")
    assert where(stages(*named, "quantize.device=cuda")["quantize"]) == (None, 1)
    with pytest.raises(RecipeError, match=r"quantize.*device=cpu: .*; .*quantize"):
        stages(*named, "quantize.device=cpu")
    with pytest.raises(RecipeError, match=r"resources.gpus=0 books no GPU, and .*; leave"):
        stages(*named, "++stages.quantize.resources.gpus=0")


@pytest.mark.parametrize("metric", METRICS)
def test_evaluators_take_the_gpu_that_is_there(visible: list[str], metric: str) -> None:
    tasks = ("evaluate.tasks=arc_easy",) if metric == "tasks" else ()
    named = ("quantize=rtn", f"evaluate={metric}", *tasks)

    def measured(*overrides: str) -> dict[str, StageDraft]:
        made = stages(*named, *overrides)
        return {name: made[name] for name in made if name in (metric, f"{metric}_reference")}

    on_cpu = measured()
    assert len(on_cpu) == 2
    assert {where(stage) for stage in on_cpu.values()} == {(None, 0)}
    visible.extend(["0", "1"])
    assert {where(stage) for stage in measured().values()} == {("cuda", 1)}
    assert measured("evaluate.device=cpu") == on_cpu


@pytest.mark.parametrize("metric", METRICS)
def test_llama_cpp_computes_on_the_cpu(visible: list[str], metric: str) -> None:
    tasks = ("evaluate.tasks=arc_easy",) if metric == "tasks" else ()
    named = ("quantize=gguf", f"evaluate={metric}", *tasks)
    visible.append("0")
    assert where(stages(*named)[metric]) == (None, 0)
    assert where(stages(*named, "evaluate.device=cpu")[metric]) == (None, 0)
    with pytest.raises(RecipeError, match=r"device=cuda: the llama.cpp that"):
        stages(*named, "evaluate.device=cuda")
    with pytest.raises(RecipeError, match=r"dtype and kernel are settings of backend transformers"):
        stages(*named, "evaluate.dtype=bfloat16")


def test_llama_bench_is_given_a_gpu_where_it_is_asked_for(visible: list[str]) -> None:
    named = ("quantize=gguf", "evaluate=speed")
    assert where(stages(*named, "evaluate.tool=llama-bench")["speed"]) == (None, 0)
    visible.append("0")
    assert where(stages(*named, "evaluate.tool=llama-bench")["speed"]) == ("cuda", 1)
    on_cpu = stages(*named, "evaluate.tool=llama-bench", "evaluate.device=cpu")
    assert where(on_cpu["speed"]) == (None, 0)


def test_precision_and_kernel_are_those_of_all(visible: list[str]) -> None:
    visible.append("0")
    named = ("quantize=gptq", "evaluate=kld", "evaluate.dtype=float16", "evaluate.kernel=marlin")
    made = stages(*named)
    for name in ("kld", "kld_reference"):
        told = {each: made[name]["params"][each] for each in ("device", "dtype", "kernel")}
        assert told == {"device": "cuda", "dtype": "float16", "kernel": "marlin"}
    plain = stages(*named[:2])["kld"]["params"]
    assert not {"dtype", "kernel"} & plain.keys()


def test_booking_by_hand_chooses_the_device(visible: list[str]) -> None:
    named = ("quantize=rtn", "evaluate=none")
    booked = "++stages.quantize.resources.gpus="
    assert where(stages(*named, f"{booked}1")["quantize"]) == ("cuda", 1)
    visible.append("0")
    assert where(stages(*named, f"{booked}0")["quantize"]) == (None, 0)
    assert where(stages(*named, f"{booked}2")["quantize"]) == ("cuda", 2)
    with pytest.raises(RecipeError, match=r"stages.quantize \(.*gpus=0.*\): .*gpus=0 books no GPU"):
        stages(*named, f"{booked}0", "quantize.device=cuda")
    with pytest.raises(RecipeError, match=r"gpus=1 books what device=cpu does not use"):
        stages(*named, f"{booked}1", "quantize.device=cpu")


def test_a_device_that_there_is_not(visible: list[str]) -> None:
    with pytest.raises(RecipeError, match=r"quantize.device .*'gpu' is not right"):
        stages("quantize=rtn", "evaluate=none", "quantize.device=gpu")
