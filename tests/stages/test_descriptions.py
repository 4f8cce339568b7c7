"""Every parameter that a user may set is described, in the user's words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, Field

from qpipe.engines.common.module_rules import ModuleRule
from qpipe.recipe import schema
from qpipe.stages.base import description
from qpipe.stages.registry import all_stages


def models() -> Iterator[type[BaseModel]]:
    for stages in all_stages().values():
        for stage in stages:
            yield from {stage.Params, stage.recipe_params()}
    for value in vars(schema).values():
        if isinstance(value, type) and issubclass(value, BaseModel):
            yield value
    yield ModuleRule


def test_every_parameter_is_described() -> None:
    described = {
        f"{model.__module__}.{model.__qualname__}.{name}": description(model, name)
        for model in models()
        for name in model.model_fields
    }
    assert len(described) > 200
    assert not [name for name, words in described.items() if not words]
    for name, words in described.items():
        assert words is not None
        assert words[-1] in ".…", name
        assert "null:" not in words[:5], f"{name}: what it is comes first"


def test_a_default_of_null_is_explained() -> None:
    unexplained = {
        f"{model.__module__}.{model.__qualname__}.{name}"
        for model in models()
        for name, field in model.model_fields.items()
        if field.default is None and "null" not in (description(model, name) or "")
    }
    # What a node holds of a pinned source: nobody writes it, and what does not apply is null.
    pinned = ("files", "tree", "form", "repo", "commit")
    blocks = ("quantize", "evaluate", "calibration")
    assert unexplained <= {
        *(f"qpipe.sources.download.DownloadParams.{name}" for name in pinned),
        *(f"qpipe.recipe.schema.Recipe.{name}" for name in blocks),
        "qpipe.recipe.schema.StageSpec.with_",
    }


def test_a_field_that_only_narrows_its_parents_keeps_its_words() -> None:
    class Parent(BaseModel):
        bits: int = Field(4, description="Bits of a weight.")

    class Child(Parent):
        bits: Literal[4] = 4

    assert description(Child, "bits") == "Bits of a weight."
    assert description(Child, "group") is None
