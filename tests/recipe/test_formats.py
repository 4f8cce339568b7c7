"""Which class measures a model: by the format that the stage before it makes."""

from __future__ import annotations

import re
from typing import Any

import pytest

from qpipe.core.key import Json
from qpipe.engines.convert import Convert, ConvertParams
from qpipe.errors import RecipeError
from qpipe.recipe.draft import StageDraft
from qpipe.recipe.draft_builder import draft
from qpipe.sources.download import Download, DownloadSettings
from qpipe.stages import base
from qpipe.stages.registry import find
from tests.recipe.jobs import job, pipeline


def measured(model: str, **params: Json) -> StageDraft:
    config: dict[str, Any] = pipeline()
    stage = config["stages"]["perplexity"]
    stage["needs"]["model"] = model
    stage["with"] = {**stage["with"], **params}
    stages = {made["name"]: made for made in draft([job(config)])["jobs"][0]["stages"]}
    return stages["perplexity"]


def test_what_a_stage_makes_is_known_before_it_runs() -> None:
    assert Convert.makes(ConvertParams()) == base.GGUF
    made = {
        source: Download.makes(DownloadSettings(source=source))
        for source in ("models/a.gguf", "hf:a/b/c.gguf", "a/b", "models/a", "builtin:tinystories")
    }
    assert list(made.values()) == [base.GGUF] * 2 + [base.CHECKPOINT] * 3


def test_auto_and_the_backend_by_name_are_one_node() -> None:
    plain, auto, named = (
        measured("quantize", **given)
        for given in ({}, {"backend": "auto"}, {"backend": "llama.cpp"})
    )
    assert plain == auto == named
    assert plain["params"]["backend"] == "llama.cpp"


def test_what_is_installed_enters_no_key_of_another_backend() -> None:
    assert set(measured("quantize")["engine"]) == {"name", "xllamacpp", "protocol"}


def test_a_backend_is_not_given_what_it_cannot_read() -> None:
    words = "'download' makes a model of format 'checkpoint', and this one reads 'gguf' (metric="
    with pytest.raises(RecipeError, match=re.escape(words)):
        measured("download", backend="llama.cpp")


def test_unknown_backends_get_near_misses() -> None:
    with pytest.raises(RecipeError, match=re.escape("did you mean 'llama.cpp'")):
        measured("quantize", backend="llamacpp")


def test_an_unknown_format_is_left_to_the_first_class() -> None:
    found = find("evaluate", {"metric": "perplexity"}, field="x", formats={"model": None})
    assert found.Params.model_fields["backend"].default == "llama.cpp"
