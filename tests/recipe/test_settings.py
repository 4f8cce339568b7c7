"""The settings that users look up, against the groups and the models that they come from."""

from __future__ import annotations

import yaml
from pydantic import BaseModel, ConfigDict

from qpipe.recipe import settings
from qpipe.recipe.request import shipped_recipes
from qpipe.recipe.settings import Group, Setting, groups


class Hook:
    """What pydantic knows nothing of."""


KNOWN = {group.name: group for group in groups()}


def setting(group: Group, name: str) -> Setting:
    (found,) = (setting for setting in group.settings if setting.name == name)
    return found


def test_every_setting_has_words_and_values() -> None:
    for group in KNOWN.values():
        assert group.about
        assert group.settings
        for one in group.settings:
            assert one.about, one.name
            assert one.values, one.name


def test_every_field_of_every_group_is_there_with_its_default() -> None:
    for kind in ("quantize", "evaluate"):
        for path in (shipped_recipes() / kind).glob("*.yaml"):
            found = yaml.safe_load(path.read_text()) or {}
            if "defaults" in found or kind not in found:
                continue
            own = {
                one.name.split(".")[1]: one.default for one in KNOWN[f"{kind}={path.stem}"].settings
            }
            assert own.keys() == found[kind].keys() - {"method", "metric"}
            for name, value in found[kind].items():
                if value == "${vars.evaluation_text}":  # what text=NAME chooses by default
                    value = "builtin:texts/tinystories_lower_heldout.txt"
                if isinstance(value, (int, str)) and name in own and value != "???":
                    assert own[name].lower() == str(value).lower()


def test_values_come_from_the_engines() -> None:
    gptq = KNOWN["quantize=gptq"]
    engine = setting(gptq, "quantize.engine")
    assert engine.values == "gptqmodel, auto-gptq, llmcompressor"
    assert engine.default == "gptqmodel"
    assert setting(gptq, "quantize.bits").values == "2, 3, 4, 8; llmcompressor: 4, 8"
    assert setting(gptq, "quantize.damp_percent").values == "number, above 0 and below 1"
    assert setting(gptq, "quantize.wbits").about == "Another tool's name for bits."
    assert setting(KNOWN["quantize=none"], "quantize.dtype").values.startswith("none, source")


def test_a_setting_has_the_words_of_the_stage_that_reads_it() -> None:
    perplexity = KNOWN["evaluate=perplexity"]
    assert "backend" not in setting(perplexity, "evaluate.text").about
    assert setting(perplexity, "evaluate.text").about.startswith("The text to measure on, in UTF-8")
    backends = (
        "auto, llama.cpp, transformers, exllamav2, llama-perplexity, llama-server, file, vllm"
    )
    assert setting(perplexity, "evaluate.backend").values == backends
    assert "smaller one" in setting(KNOWN["evaluate=kld"], "evaluate.stop_dominated").about


def test_what_has_to_be_given_has_no_default() -> None:
    needed = {one.name for group in KNOWN.values() for one in group.settings if not one.default}
    assert {"model.source", "evaluate.tasks", "stages.NAME.uses"} <= needed
    assert "model.revision" not in needed


def test_a_type_that_has_no_json_schema_is_named() -> None:
    class Plugin(BaseModel):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        bits: int = 4
        hook: Hook | None = None

    assert settings._values(Plugin, "hook").endswith("Hook | None")


def test_stages_that_a_recipe_can_name() -> None:
    tokens = KNOWN["stage=tokens"]
    assert setting(tokens, "stages.NAME.with.backend").default == "auto"
    assert setting(tokens, "stages.NAME.with.protocol").default == "llamacpp-512"
    assert setting(KNOWN["executor"], "executor.memory").values == "size, as 8GB"
