"""Every engine through one suite: what it declares, and what recipes may ask of it."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest

from qpipe.engines.common import module_rules
from qpipe.errors import RecipeError
from qpipe.recipe.draft_builder import draft
from qpipe.stages import base
from qpipe.stages.registry import all_stages, chosen, entry
from tests.recipe.composing import single

ENGINES = {" ".join(map(str, chosen(stage).values())): stage for stage in all_stages()["quantize"]}
each = pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)


@cache
def asked(engine: type[base.Stage], *overrides: str) -> dict[str, Any]:
    """The stages of a job that asks for this engine with its recipe group's defaults."""
    choice = chosen(engine)
    job = single(
        "local",
        "model.source=builtin:tinystories-d256",
        f"quantize={choice['method']}",
        f"quantize.engine={choice['engine']}",
        *([f"model.converter={choice['converter']}"] if "converter" in choice else []),
        *overrides,
    )
    return {str(made["name"]): made for made in draft([job])["jobs"][0]["stages"]}


@each
def test_a_recipe_group_brings_it(engine: type[base.Stage]) -> None:
    stages = asked(engine)
    made = stages["quantize"]
    assert made["entry"] == entry(engine)
    keyed = {n: v for n, v in chosen(engine).items() if not engine.Params.model_fields[n].exclude}
    assert {name: made["params"][name] for name in keyed} == keyed
    assert set(engine.roles) <= set(made["needs"])
    assert ("calibrate" in stages) == ("calibration" in made["needs"])


@each
def test_what_is_checked_survives_the_way_to_a_worker(engine: type[base.Stage]) -> None:
    params = asked(engine)["quantize"]["params"]
    again = engine.Params.model_validate_json(json.dumps(params))
    assert base.keyed(again) == params


@each
def test_typos_and_wrong_values_are_refused(engine: type[base.Stage]) -> None:
    with pytest.raises(RecipeError, match="unknown field; did you mean 'engine'"):
        asked(engine, "+quantize.engin=x")
    # By its enum, its range or its type, whichever the field has.
    field = "type" if "type" in engine.Params.model_fields else None
    field = field or next(f for f in ("bits", "scheme") if f in engine.Params.model_fields)
    with pytest.raises(RecipeError, match=rf"quantize\.{field} "):
        asked(engine, f"quantize.{field}=-7")


@each
def test_it_says_what_shapes_the_bytes(engine: type[base.Stage]) -> None:
    made = asked(engine)["quantize"]
    told = made["engine"]
    assert told and json.loads(json.dumps(told)) == told
    assert isinstance(told["name"], str) and len(told) > 1
    if engine.check() is None:
        assert "missing" not in told.values()


@each
def test_what_is_missing_comes_with_what_helps(engine: type[base.Stage]) -> None:
    problem = engine.check()
    assert problem is None or any(
        word in problem for word in ("install", "quantize.engine=", "PATH", "accelerator")
    )


@each
def test_rules_for_modules_are_followed_or_refused(engine: type[base.Stage]) -> None:
    able = getattr(engine.Params, "RULES", None)
    if able is None:
        pytest.skip("GGUF has types by tensor instead")
    for wish, rule in {"bits": "8", "group_size": "{group_size: 64}", "skip": "skip"}.items():
        override = f"quantize.modules={{down_proj: {rule}}}"
        if "modules" not in asked(engine)["quantize"]["params"] or wish not in able:
            with pytest.raises(RecipeError, match=r"sets|no field"):
                asked(engine, override)
        else:
            params = asked(engine, override)["quantize"]["params"]
            ((pattern, kept),) = params["modules"]
            assert pattern == "down_proj" and module_rules.ModuleRule(**kept)
