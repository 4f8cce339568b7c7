"""What headers decide is said before anything runs, by `qpipe plan` and `qpipe run` alike."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from qpipe.gguf.convert import convert
from tests.cli import by_stage, called, imported, qpipe
from tests.hub import serve

pytestmark = pytest.mark.slow

SMALL = Path(__file__).parents[1] / "data" / "models" / "stories260K"
RECIPE = ("local", f"model.source={SMALL}", "evaluate=none", "quantize=rtn")
MODEL = Path(__file__).parents[2] / "qpipe" / "data" / "tinystories-d256"
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128}
WRONG = {
    "quantize.group_size=128": "rows of model.layers.0.mlp.down_proj have 172 weights",
    "quantize.modules={k_porj: skip}": "'k_porj' matches none of the 35 modules",
}


@pytest.mark.parametrize(("wrong", "told"), WRONG.items(), ids=WRONG)
def test_nothing_runs_for_a_model_that_the_settings_do_not_fit(
    wrong: str, told: str, tmp_path: Path
) -> None:
    planned = called("plan", *RECIPE, wrong, cwd=tmp_path)
    assert planned.code == 2
    assert told in planned.stdout
    ran = called("run", *RECIPE, wrong, "--json", cwd=tmp_path)
    assert ran.code == 2
    nodes = by_stage(json.loads(ran.stdout)["nodes"])
    assert nodes["quantize"]["error"]["type"] == "RecipeError"
    assert told in nodes["quantize"]["error"]["message"]
    assert nodes["download"]["status"] == "skipped"


def test_of_a_sweep_only_those_fail_that_do_not_fit(tmp_path: Path) -> None:
    answer = called("plan", *RECIPE, "-m", "quantize.group_size=-1,128", "--json", cwd=tmp_path)
    assert answer.code == 2
    nodes = [node for node in json.loads(answer.stdout)["nodes"] if node["stage"] == "quantize"]
    assert ["error" in node for node in nodes] == [False, True]


def test_config_json_is_enough_before_a_download(tmp_path: Path) -> None:
    model = Path(shutil.copytree(SMALL, tmp_path / "phi3"))
    config = json.loads((model / "config.json").read_text()) | {"model_type": "phi3"}
    (model / "config.json").write_text(json.dumps(config))
    env = {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"}
    recipe = ("local", "model.source=someone/phi3", "evaluate=none", "quantize=gptq")
    with serve({"someone/phi3": model}) as hub:
        for verb in ("plan", "run"):
            answer = qpipe(verb, *recipe, cwd=tmp_path, env={**env, "HF_ENDPOINT": hub.url})
            assert answer.code == 2, answer
            assert "the model is a phi3" in answer.stdout + answer.stderr
    fetched = [line for line in hub.requests if "/resolve/" in line]
    assert fetched and all("config.json" in line for line in fetched)


def test_a_level_that_needs_an_importance_matrix_is_refused_before_anything_runs(
    tmp_path: Path,
) -> None:
    sweep = ("local", f"model.source={MODEL}", "evaluate=none", "-m", "quantize.type=Q8_0,IQ1_S")
    ran = called("run", *sweep, cwd=tmp_path)
    assert ran.code == 2, ran
    assert "garbage without an importance matrix: name one as quantize.imatrix" in ran.stderr
    assert "start    " not in ran.stderr
    ran = called("run", *sweep, "--keep-going", cwd=tmp_path)
    assert ran.code == 1, ran
    assert "ran      quantize[tinystories-d256 Q8_0]" in ran.stderr


IQ = ("quantize.type=IQ2_XXS",)
GGUF_OF_A_HUB = {
    "garbage without an importance matrix": ({}, IQ),
    "'hidden_act' is 'gelu'": ({"hidden_act": "gelu"}, ()),
    "names 'Unheard'": ({"architectures": ["Unheard"]}, ()),
    "quantized already (gptq, 4 bits)": ({"quantization_config": GPTQ}, ("quantize.type=Q4_K_M",)),
}


@pytest.mark.parametrize("told", GGUF_OF_A_HUB)
def test_config_json_tells_what_cannot_be_a_gguf_file(told: str, tmp_path: Path) -> None:
    fields, wishes = GGUF_OF_A_HUB[told]
    model = Path(shutil.copytree(MODEL, tmp_path / "model"))
    config = json.loads((model / "config.json").read_text()) | fields
    (model / "config.json").write_text(json.dumps(config))
    env = {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"}
    recipe = ("local", "model.source=someone/model", "evaluate=none", *wishes)
    with serve({"someone/model": model}) as hub:
        for verb in ("plan", "run"):
            answer = qpipe(verb, *recipe, cwd=tmp_path, env={**env, "HF_ENDPOINT": hub.url})
            assert answer.code != 0, answer
            assert told in answer.stdout + answer.stderr
            assert str(tmp_path / "hf") not in answer.stdout + answer.stderr
    fetched = [line for line in hub.requests if "/resolve/" in line]
    assert fetched and all("config.json" in line for line in fetched)


def test_config_json_beside_a_gguf_file_says_nothing_of_it(tmp_path: Path) -> None:
    """Repositories of GGUF files have the config.json of the model that they were made of."""
    folder = tmp_path / "model"
    folder.mkdir()
    shutil.copy(SMALL / "config.json", folder)
    config = json.loads((folder / "config.json").read_text()) | {"architectures": ["Unheard"]}
    (folder / "config.json").write_text(json.dumps(config))
    convert(SMALL, folder / "model.gguf", outtype="F16")
    env = {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"}
    recipe = ("local", "model.source=someone/model", "evaluate=none")
    with serve({"someone/model": folder}) as hub:
        answer = qpipe("run", *recipe, cwd=tmp_path, env={**env, "HF_ENDPOINT": hub.url})
    assert answer.code == 0, answer


def test_a_run_whose_nodes_are_all_cached_asks_no_stage(tmp_path: Path) -> None:
    """Stages bring pydantic and more: three times what such a run takes."""
    words = ("run", "local", f"model.source={SMALL}", "evaluate=none", "quantize.type=Q8_0")
    assert called(*words, cwd=tmp_path).code == 0
    heavy = ("pydantic", "numpy", "hydra", "qpipe.stages.base", "subprocess", "ctypes")
    answer, names = imported(*words, "--json", cwd=tmp_path, names=heavy)
    assert {node["status"] for node in json.loads(answer.stdout)["nodes"]} == {"cached"}
    assert (answer.code, names) == (0, [])
