"""Every engine through one suite: what it declares, and what recipes may ask of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest

from qpipe.engines.common import module_rules
from qpipe.errors import RecipeError
from qpipe.recipe.draft_builder import draft
from qpipe.recipe.load import compose_each
from qpipe.recipe.request import InvalidJob, Job
from qpipe.stages import base
from qpipe.stages.registry import all_stages, chosen, entry
from tests.recipe.composing import composed

# One worker composes for all: what Hydra makes of the groups is shared.
pytestmark = pytest.mark.xdist_group("contract")

ENGINES = {" ".join(map(str, chosen(stage).values())): stage for stage in all_stages()["quantize"]}
each = pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)


TYPO = "+quantize.engin=x"
RULES = {
    wish: f"quantize.modules={{down_proj: {rule}}}"
    for wish, rule in {"bits": "8", "group_size": "{group_size: 64}", "skip": "skip"}.items()
}


def wrong_value(engine: type[base.Stage]) -> str:
    """An override that is refused by its enum, its range or its type, whichever the field has."""
    fields = engine.Params.model_fields
    return f"quantize.{next(f for f in ('type', 'bits', 'scheme') if f in fields)}=-7"


@cache
def jobs(engine: type[base.Stage]) -> Mapping[str, Job | InvalidJob]:
    """By an override, none in front: the job that asks for this engine with it and its recipe
    group's defaults. Composed together, which takes little more than one."""
    choice = chosen(engine)
    common = [
        "model.source=builtin:tinystories-d256",
        f"quantize={choice['method']}",
        f"quantize.engine={choice['engine']}",
        *([f"model.converter={choice['converter']}"] if "converter" in choice else []),
    ]
    overrides = ["", TYPO, wrong_value(engine), *RULES.values()]
    found = compose_each("local", [[*common, *([o] if o else [])] for o in overrides])
    return dict(zip(overrides, found, strict=True))


@cache
def asked(engine: type[base.Stage], override: str = "") -> dict[str, Any]:
    """The stages of one of its `jobs`. Raises RecipeError for one that is wrong."""
    job = composed(jobs(engine)[override])
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
        asked(engine, TYPO)
    override = wrong_value(engine)
    with pytest.raises(RecipeError, match=rf"{re.escape(override.partition('=')[0])} "):
        asked(engine, override)


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
    for wish, override in RULES.items():
        if "modules" not in asked(engine)["quantize"]["params"] or wish not in able:
            with pytest.raises(RecipeError, match=r"sets|no field"):
                asked(engine, override)
        else:
            params = asked(engine, override)["quantize"]["params"]
            ((pattern, kept),) = params["modules"]
            assert pattern == "down_proj" and module_rules.ModuleRule(**kept)
