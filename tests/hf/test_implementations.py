"""A checkpoint chooses no code: names of kernels in its config.json are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qpipe.errors import CheckpointError
from qpipe.hf.implementations import attention, refuse_code

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
    assert attention({"_attn_implementation": "flash_attention_2"}, PATH) == {
        "attn_implementation": "sdpa"
    }
    for config in ({}, {"attn_implementation": None}, {"attn_implementation": "eager"}):
        assert attention(config, PATH) == {}
