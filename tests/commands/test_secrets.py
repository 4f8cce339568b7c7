"""Values of environment variables are in nothing that a run leaves behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli import called
from tests.recipe.composing import write

SECRET = "hunter2-is-no-password"
RECIPE = """
    defaults:
      - config
      - override quantize: gguf
      - override evaluate: none
      - _self_
    name: run ${oc.env:MYSECRET}
    model: {source: "builtin:tinystories-d256"}
    vars: {unused: "${oc.env:MYSECRET}", used: "${oc.env:MYSECRET}"}
    quantize: {type: Q8_0}
    stages:
      quantize: {with: {name: "x-${vars.used}"}}
"""


def holding(folder: Path, text: str) -> list[Path]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if text.encode() in path.read_bytes()]


@pytest.mark.slow
def test_secrets_stay_where_they_are(tmp_path: Path) -> None:
    recipe = write(tmp_path / "r.yaml", RECIPE)
    for verb in ("plan", "run"):
        answer = called(verb, recipe, cwd=tmp_path, env={"MYSECRET": SECRET})
        assert answer.code == 0, answer.stderr
        assert SECRET not in answer.stdout + answer.stderr
    assert holding(tmp_path, SECRET) == []
    assert holding(tmp_path / "outputs", "${env:MYSECRET:")

    again = called("run", recipe, "--json", cwd=tmp_path, env={"MYSECRET": SECRET})
    other = called("run", recipe, "--json", cwd=tmp_path, env={"MYSECRET": "another"})
    assert '"ran"' not in again.stdout
    assert '"ran"' in other.stdout
