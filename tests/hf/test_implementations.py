"""A checkpoint chooses no code: names of kernels in its config.json are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qpipe.errors import CheckpointError
from qpipe.hf.implementations import refuse_code, wants_package, without

PATH = Path("m/config.json")


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"_attn_implementation": "owner/kernels"}, "_attn_implementation"),
        ({"attn_implementation": "owner/kernels@main:run"}, "attn_implementation"),
        ({"_attn_implementation_internal": "owner/kernels"}, "_attn_implementation_internal"),
        ({"text_config": {"attn_implementation": "a/b"}}, "text_config.attn_implementation"),
        ({"attn_implementation": {"": "a/b"}}, "attn_implementation"),
        ({"experts_implementation": "paged|a/b"}, "experts_implementation"),
    ],
)
def test_names_of_repositories_are_refused(config: dict[str, Any], field: str) -> None:
    with pytest.raises(CheckpointError, match=rf"m/config.json: field '{field}' is .* run it"):
        refuse_code(config, PATH)


def test_what_needs_a_package_is_computed_without() -> None:
    assert wants_package({"_attn_implementation": "flash_attention_2"}, PATH)
    for config in ({}, {"attn_implementation": None}, {"attn_implementation": "eager"}):
        assert not wants_package(config, PATH)


def test_tools_are_not_told_of_it() -> None:
    config = {"a": 1, "_attn_implementation": "x", "text_config": {"attn_implementation": "x"}}
    assert without(config) == {"a": 1, "text_config": {}}
