"""Parameters in the users' words: spellings, rules for modules, and what is refused."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import yaml
from pydantic import ValidationError

from qpipe.engines.common import module_rules
from qpipe.engines.common.methods import (
    AutoRoundMethodParams,
    AwqParams,
    BnbParams,
    Exl2Params,
    GptqParams,
    Int8Params,
)
from qpipe.errors import RecipeError
from qpipe.recipe.request import shipped_recipes


class Awq(AwqParams):
    RULES = ("skip",)

    engine: Literal["some"] = "some"


class Gptq(GptqParams):
    RULES = ("bits", "group_size", "skip")

    engine: Literal["some"] = "some"


class Deaf(GptqParams):
    engine: Literal["deaf"] = "deaf"


def test_two_spellings_are_one_setting() -> None:
    theirs = {"zero_point": True, "q_group_size": 64, "w_bit": 4, "version": "gemm"}
    ours = {"zero_point": True, "group_size": 64, "bits": 4, "version": "GEMM"}
    assert Awq(**theirs) == Awq(**ours)  # type: ignore[arg-type]
    assert Gptq(wbits=8, groupsize=-1, act_order=True) == Gptq(  # type: ignore[call-arg]
        bits=8, group_size=-1, desc_act=True
    )
    given: dict[str, Any] = {"bnb_4bit_quant_type": "fp4", "engine": "bnb"}
    assert BnbParams(**given) == BnbParams(type="fp4", engine="bnb")
    assert Exl2Params(engine="x", bpw=4) == Exl2Params(engine="x", bits=4.0)  # type: ignore[call-arg]


def test_null_is_not_given() -> None:
    assert Gptq(bits=3, wbits=None) == Gptq(bits=3)  # type: ignore[call-arg]


def test_contradicting_spellings_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"wbits=2 and quantize\.bits=8 are two spellings"):
        Gptq(bits=8, wbits=2)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("scheme", "known"), [("W8A8", "w8a8"), ("weight-only", "w8a16"), ("dynamic", "w8a8")]
)
def test_schemes(scheme: Any, known: str) -> None:
    assert Int8Params(engine="x", scheme=scheme).scheme == known


def test_scheme_by_default_is_that_of_the_group() -> None:
    group = yaml.safe_load((shipped_recipes() / "quantize" / "int8.yaml").read_text())
    assert Int8Params(engine="x").scheme == group["quantize"]["scheme"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"bits": 5}, {"group_size": 100}, {"damp_percent": 0.0}, {"damp_percent": 1.5},
        {"desc_act": "yes"}, {"modules": {"(": "skip"}}, {"modules": {"a": {}}},
        {"modules": {"a": {"skip": True, "bits": 8}}}, {"modules": {"a": {"group_size": 5}}},
        {"modules": {"a": 9}}, {"bit": 4},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_wrong_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Gptq(**wrong)


@pytest.mark.parametrize("form", ["gguf", "gguf:", "awq", "auto_gptq "])
def test_unknown_formats_are_refused(form: str) -> None:
    with pytest.raises(ValidationError):
        AutoRoundMethodParams(engine="x", format=form)


def test_rules_survive_the_way_to_a_worker() -> None:
    given: Any = {"down_proj": {"bits": 8, "group_size": 32}, "layers.0": "skip", "q_proj": 3}
    params = Gptq(modules=given)
    assert list(params.modules) == list(given)
    assert Gptq.model_validate_json(params.model_dump_json()) == params
    turned = Gptq(modules=dict(reversed(list(given.items()))))
    assert turned.model_dump_json() != params.model_dump_json()


def test_the_last_rule_wins() -> None:
    params = Gptq(modules={"proj": 8, r"layers\.1\.": "skip"})  # type: ignore[dict-item]
    names = ["layers.0.q_proj", "layers.1.q_proj", "lm_head"]
    found = module_rules.resolve(params.modules, names)
    assert {name: (rule.bits, rule.skip) for name, rule in found.items()} == {
        "layers.0.q_proj": (8, False),
        "layers.1.q_proj": (None, True),
    }


def test_a_pattern_without_effect_is_refused() -> None:
    params = Gptq(modules={"k_porj": "skip"})  # type: ignore[dict-item]
    with pytest.raises(RecipeError, match=r"'k_porj' matches none of the 1 modules .* q_proj"):
        module_rules.resolve(params.modules, ["q_proj"])


def test_an_engine_refuses_rules_that_it_cannot_follow() -> None:
    with pytest.raises(ValidationError, match="sets bits; engine some can set only skip"):
        Awq(modules={"a": 8})  # type: ignore[dict-item]
    with pytest.raises(ValidationError, match="sets skip; engine deaf can set nothing"):
        Deaf(modules={"a": "skip"})  # type: ignore[dict-item]


def test_lists_of_modules_to_skip_become_rules() -> None:
    listed = Awq(modules_to_not_convert=["self_attn.o_proj"])  # type: ignore[call-arg]
    assert listed == Awq(modules={r"self_attn\.o_proj": "skip"})  # type: ignore[dict-item]


def test_one_name_is_a_list_of_one() -> None:
    one = Awq(modules_to_not_convert="lm_head")  # type: ignore[call-arg]
    assert one == Awq(modules_to_not_convert=["lm_head"])  # type: ignore[call-arg]
    assert list(one.modules) == ["lm_head"]
    for wrong in ({"a": 1}, [5], 7):
        with pytest.raises(ValueError, match=r"is no list of module names: write it as \[NAME"):
            Awq(modules_to_not_convert=wrong)  # type: ignore[call-arg]


@pytest.mark.parametrize("wrong", ["ab", ["ab"], ["a", "b"], [["a", "skip", "c"]]])
def test_rules_are_a_mapping(wrong: object) -> None:
    """A text of two letters is no pair of a pattern and a rule."""
    with pytest.raises(ValueError, match="modules"):
        Awq(modules=wrong)  # type: ignore[arg-type]
