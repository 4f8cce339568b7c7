"""The recipes for models on the hub compose and plan, from config.json and a list of files alone.

tests/data/configs_of_2026.json has what config.json says of the sizes of models of 2026, as the
classes of transformers 5.17 write it; qpipe/data/shapes.json those of the rest.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from qpipe.recipe.draft import RunDraft
from qpipe.recipe.draft_builder import draft
from qpipe.sizes.known import entries
from tests.cli import environment
from tests.hub import serve
from tests.recipe.composing import batches

ROOT = Path(__file__).parents[2]
OF_2026: dict[str, Any] = json.loads((ROOT / "tests/data/configs_of_2026.json").read_text())
WRITTEN: dict[str, Any] = {
    path.stem: yaml.safe_load(path.read_text())
    for path in sorted((ROOT / "recipes").glob("*.yaml"))
}
MODELS: dict[str, Any] = {
    name: recipe["model"]
    for name, recipe in WRITTEN.items()
    if "/" in recipe.get("model", {}).get("source", "")
}
SWEEPS = {path.stem for path in (ROOT / "recipes/sweep").glob("*.yaml")}
# Billions of weights in the text model of 2026, as its name or its card has them.
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
# Bits of a weight as published; experts in MXFP4 stay so.
BITS = {"openai/gpt-oss-20b": 5.3}
# Bits of a weight in Q6_K, and in four bits, where embeddings, heads and rows that are no multiple
# of 256 have more.
SIX, FOUR = 6.5625, (4.1, 6.5)


def config(repository: str) -> Mapping[str, Any]:
    known: Mapping[str, Any] = OF_2026.get(repository) or entries()[repository.lower()]["config"]
    return known


# The texts that recipes read: data set, commit, file.
TEXTS = {
    found.groups()
    for path in (ROOT / "recipes").rglob("*.yaml")
    for found in re.finditer(r"hf:(datasets/[^/]+/[^/@]+)@(\w{40})/(\S+)", path.read_text())
}
# Models of 2026, and the first of each other architecture.
PLANNED = {
    **{config(MODELS[name]["source"])["model_type"]: name for name in reversed(MODELS)},
    **{MODELS[name]["source"]: name for name in MODELS if MODELS[name]["source"] in OF_2026},
}


def weights(repository: str) -> float:
    known = WEIGHTS.get(repository)
    return float(entries()[repository.lower()]["parameters"]) if known is None else known * 1e9


def size(repository: str) -> int:
    return round(weights(repository) * BITS.get(repository, 16.0) / 8)


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The plan of each recipe, of repositories with files that nobody reads but config.json."""
    folder = tmp_path_factory.mktemp("hub")
    repositories, commits = {}, {}
    for name, model in MODELS.items():
        repository = model["source"]
        repositories[repository] = folder / name
        repositories[repository].mkdir()
        (folder / name / "config.json").write_text(json.dumps(config(repository)))
        with (folder / name / "model.safetensors").open("wb") as file:
            file.truncate(size(repository))
        if revision := model.get("revision"):
            commits[repository] = revision
    for repository, commit, text in TEXTS:
        repositories[repository], commits[repository] = folder / repository, commit
        (folder / repository / text).parent.mkdir(parents=True, exist_ok=True)
        (folder / repository / text).write_bytes(b"nobody reads this")
    with serve(repositories, commits) as hub:
        extra = {"HF_HOME": str(folder / "hf"), "HF_ENDPOINT": hub.url}
        done = subprocess.run(
            [sys.executable, "-m", "tests.recipe.planned_recipes", *sorted({*PLANNED.values()})],
            cwd=ROOT,
            env={**environment(extra), "QPIPE_STORE": str(folder / "store")},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        yield json.loads(done.stdout)


def drafted(name: str, *overrides: str) -> RunDraft:
    (jobs,) = batches(name, *overrides)
    return draft(jobs)


def test_models_that_people_use_are_there() -> None:
    assert len(MODELS) >= 36
    assert {model["source"] for model in MODELS.values()} >= OF_2026.keys() == WEIGHTS.keys()
    assert len({model["source"] for model in MODELS.values()}) == len(MODELS)


def test_the_page_lists_them() -> None:
    page = (ROOT / "docs/howto/models-of-today.md").read_text()
    listed = dict(re.findall(r"^\| `([\w.-]+)` \| (\S+/\S+) \|", page, re.MULTILINE))
    assert listed == {name: model["source"] for name, model in MODELS.items()}
    assert {*re.findall(r"`sweep=([\w-]+)` \|", page)} == SWEEPS - {"none", "levels-large"}


@pytest.mark.parametrize("name", MODELS)
def test_it_says_what_a_serious_user_would(name: str) -> None:
    """No toy text, whatever is quantized by and measured; one of a data set, at a commit."""
    own = [] if name == "gpt-oss-20b" else ["sweep=none", "quantize=gptq"]  # it has levels alone
    for overrides in ([], ["imatrix=calibrated", "quantize=gguf"], own):
        made = drafted(name, *overrides)
        assert made["invalid"] == []
        assert made["notes"] == []
        stages = [stage for job in made["jobs"] for stage in job["stages"]]
        texts = {str(s["params"]["source"]) for s in stages if s["source"]} - {
            MODELS[name]["source"]
        }
        assert texts
        for text in texts:
            assert text.startswith("hf:datasets/")
            assert len(text.partition("@")[2].partition("/")[0]) == 40


@pytest.mark.parametrize("sweep", sorted(SWEEPS - {"none"}))
def test_a_sweep_is_one_word(sweep: str) -> None:
    """On a recipe without a sweep, on one with a sweep by name, and with one of its own."""
    (known,) = yaml.safe_load((ROOT / f"recipes/sweep/{sweep}.yaml").read_text())["vars"].values()
    count = max(len(values.split(",")) for values in known.values())
    for name in ("opt-125m", "qwen3.5-4b", "demo"):
        made = drafted(name, f"sweep={sweep}")
        assert made["invalid"] == []
        assert len(made["jobs"]) == count, name


def test_values_of_the_command_line_win() -> None:
    made = drafted("qwen3.5-4b", "sweep=llamacpp-standard", "quantize.type=Q5_1,Q4_1")
    assert [job["varying"] for job in made["jobs"]] == [{"type": "Q5_1"}, {"type": "Q4_1"}]
    assert len(drafted("qwen3.5-4b", "sweep=none")["jobs"]) == 1


@pytest.mark.parametrize(
    ("overrides", "count"),
    [
        (("quantize=gptq",), 1),
        (("quantize=gguf_q4_k_m",), 1),
        (("quantize=gguf", "imatrix=calibrated"), 5),
        (("quantize=gptq", "quantize.bits=4,8"), 2),
        (("quantize=gptq,awq",), 2),
    ],
)
def test_another_method_takes_the_levels_of_gguf_with_it(
    overrides: tuple[str, ...], count: int
) -> None:
    made = drafted("qwen3.5-4b", *overrides)
    assert made["invalid"] == []
    assert len(made["jobs"]) == count


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({*PLANNED.values()}))
def test_it_plans(name: str, plans: dict[str, Any]) -> None:
    plan, repository = plans[name], MODELS[name]["source"]
    assert not plan["errors"]
    assert plan["model"] == size(repository)
    assert plan["texts"]
    assert not [note for note in plan["notes"] if "children" in note]
    sizes = {level: nbytes for level, nbytes in plan["sizes"].items() if nbytes is not None}
    made = {level: nbytes * 8 / weights(repository) for level, nbytes in sizes.items()}
    assert made or plan["sizes"].keys() == {f"quantize[{name} gptq]"}
    if repository in OF_2026:
        assert len(made) >= 4
        assert [*made.values()] == sorted(made.values(), reverse=True)
        (bits,) = (bits for level, bits in made.items() if "Q6_K" in level)
        assert bits == pytest.approx(4.5 if repository in BITS else SIX, rel=0.12)
    elif "Q4_K_M" in "".join(made):
        assert FOUR[0] < next(iter(made.values())) < FOUR[1]
