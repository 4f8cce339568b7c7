"""The shapes that are shipped: each gives the number of parameters that was published."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from qpipe import sizes
from qpipe.sizes import known

ENTRIES = list({id(entry): entry for entry in known.entries().values()}.values())


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: str(entry["models"][0]))
def test_parameters(entry: Mapping[str, Any]) -> None:
    assert sizes.predict(entry["config"], {"dtype": "bf16"}).weights == entry["parameters"]


def test_names() -> None:
    assert sizes.shapes("qwen/qwen2.5-7b-instruct") == sizes.shapes("Qwen/Qwen2.5-7B")
    assert sizes.shapes("nobody/nothing") is None
    assert len(known.entries()) == sum(len(entry["models"]) for entry in ENTRIES) > 100
