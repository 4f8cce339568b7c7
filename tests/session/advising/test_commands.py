"""Every command that is recommended is one that qpipe takes."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from qpipe.recipe import load
from qpipe.recipe.request import InvalidJob
from tests.advice.machines import BLACKWELL, CPU_32, H100, of

MODEL = Path(__file__).parents[3] / "qpipe" / "data" / "tinystories-d256"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("machine", "needs"),
    [(CPU_32, {}), (BLACKWELL, {}), (H100, {"runtime": "vllm"}), (H100, {"runtime": "exllama"})],
)
def test_recipes_compose(machine: Any, needs: Any) -> None:
    rows = of(machine, **needs).record()["rows"]
    lines = [shlex.split(row["command"]) for row in rows] + [shlex.split(rows[0]["measure"])]
    assert all(line[:3] == ["qpipe", "run", "local"] for line in lines)
    unique = sorted({tuple(line[3:]) for line in lines})
    jobs = load.compose_each("local", [list(words) for words in unique])
    assert not [each.error for each in jobs if isinstance(each, InvalidJob)]
    sections = [job.config["quantize"] for job in jobs if not isinstance(job, InvalidJob)]
    methods = {section.get("method") or "none" for section in sections}
    assert methods == {row["method"] for row in rows}


def test_a_folder_and_its_config_are_named_as_recipes_take_them() -> None:
    for given in (str(MODEL), str(MODEL / "config.json")):
        row = of(CPU_32, model=given).record()["rows"][0]
        assert f"model.source={MODEL}" in shlex.split(row["command"])
