"""The recipes for models of 2026 compose and plan, from config.json and a list of files alone.

tests/data/configs_of_2026.json has what config.json says of each repository's sizes, as the classes
of transformers 5.17 write it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli import environment
from tests.hub_server import serve

ROOT = Path(__file__).parents[2]
CONFIGS: dict[str, Any] = json.loads((ROOT / "tests/data/configs_of_2026.json").read_text())
RECIPES = {
    recipe["model"]["source"]: path.stem
    for path in sorted((ROOT / "recipes").glob("*.yaml"))
    if (recipe := yaml.safe_load(path.read_text())).get("model", {}).get("source") in CONFIGS
}
# Billions of weights in the text model, as its name or its card has them.
WEIGHTS = {
    "Qwen/Qwen3.5-4B": 4.2,
    "Qwen/Qwen3.6-27B": 27,
    "Qwen/Qwen3.6-35B-A3B": 35,
    "google/gemma-4-E4B-it": 7.5,
    "google/gemma-4-26B-A4B-it": 25.2,
    "LiquidAI/LFM2.5-1.2B-Instruct": 1.2,
    "mistralai/Ministral-3-8B-Instruct-2512-BF16": 8.5,
    "openai/gpt-oss-20b": 20.9,
    "zai-org/GLM-4.7-Flash": 30,
    "HuggingFaceTB/SmolLM3-3B": 3.1,
    "ibm-granite/granite-4.0-h-micro": 3.2,
    "allenai/Olmo-3-7B-Instruct": 7.3,
}
# Bits of a weight as published, and in Q6_K; experts in MXFP4 stay so.
BITS = {"openai/gpt-oss-20b": (5.3, 4.5)}
PLAIN = (16.0, 6.5625)


def size(repository: str, bits: float) -> float:
    return WEIGHTS[repository] * 1e9 * bits / 8


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The plan of each recipe, of repositories with a config.json and weights that nobody reads."""
    folder = tmp_path_factory.mktemp("hub")
    repositories = {}
    for number, (repository, config) in enumerate(CONFIGS.items()):
        repositories[repository] = folder / str(number)
        repositories[repository].mkdir()
        (folder / str(number) / "config.json").write_text(json.dumps(config))
        with (folder / str(number) / "model.safetensors").open("wb") as file:
            file.truncate(round(size(repository, BITS.get(repository, PLAIN)[0])))
    with serve(repositories) as hub:
        extra = {"HF_HOME": str(folder / "hf"), "HF_ENDPOINT": hub.url}
        done = subprocess.run(
            [sys.executable, "-m", "tests.recipe.planned_recipes", *RECIPES.values()],
            cwd=ROOT,
            env={**environment(extra), "QPIPE_STORE": str(folder / "store")},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        yield json.loads(done.stdout)


def test_there_is_one_for_each() -> None:
    assert RECIPES.keys() == CONFIGS.keys() == WEIGHTS.keys()


@pytest.mark.slow
@pytest.mark.parametrize("repository", RECIPES)
def test_it_plans(repository: str, plans: dict[str, Any]) -> None:
    plan = plans[RECIPES[repository]]
    assert not plan["errors"]
    published, six_bits = BITS.get(repository, PLAIN)
    assert plan["download"] == pytest.approx(size(repository, published))
    sizes = [*plan["sizes"].values()]
    assert len(sizes) >= 4
    assert sizes == sorted(sizes, reverse=True)
    (made,) = (nbytes for name, nbytes in plan["sizes"].items() if "Q6_K" in name)
    assert made == pytest.approx(size(repository, six_bits), rel=0.12)
