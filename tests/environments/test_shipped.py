"""The engines that come with qpipe: their locks, and what is said where they cannot run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qpipe.engines import auto_gptq, autoawq, exllamav2
from qpipe.engines.common import isolated_engine
from qpipe.machine import gpus
from tests.cli import called

ENGINES = [autoawq.AutoAwq, auto_gptq.AutoGptq, exllamav2.Exl2, exllamav2.Exl2Measure]
SOURCE = "model.source=builtin:tinystories-d256"
NO_GPU = pytest.mark.skipif(bool(gpus.visible()), reason="there is a GPU")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_lock_has_all_that_is_wanted(engine: type[isolated_engine.IsolatedEngine]) -> None:
    environment = engine.environment
    assert environment.script.is_file()
    for line in environment.requirements.read_text().splitlines():
        if line and not line.startswith("#"):
            name, _, version = line.partition(">=")[0].partition("==")
            assert environment.requirements_lock.version(name)
            assert not version or environment.requirements_lock.version(name) == version
    assert environment.requirements_lock.torch == "2.13.0"
    assert not any(
        name.startswith(("nvidia-", "cuda-")) for name in environment.requirements_lock.names
    )
    assert set(environment.built) <= environment.requirements_lock.names


def test_the_lock_is_in_the_key() -> None:
    params = autoawq.AutoAwqParams()
    assert autoawq.AutoAwq.fingerprint(params) == {
        "name": "autoawq",
        "version": "0.2.9",
        "lock": autoawq.AutoAwq.environment.requirements_lock.digest,
    }


def test_an_environment_that_is_missing(tmp_path: Path) -> None:
    recipe = ("local", SOURCE, "quantize=awq", "quantize.engine=autoawq", "evaluate=none")
    env = {"QPIPE_ENGINES": str(tmp_path / "engines")}
    for verb in ("plan", "run"):
        answer = called(verb, *recipe, cwd=tmp_path, env=env)
        assert answer.code == 3
        assert "its environment is not installed: qpipe engines install autoawq" in (
            answer.stdout + answer.stderr
        )


@NO_GPU
@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("quantize=gptq", "quantize.engine=auto-gptq"), "quantize.engine=gptqmodel does the same"),
        (("quantize=exl2",), "quantize=gptq (engine gptqmodel) or quantize=gguf"),
    ],
)
def test_no_gpu(tmp_path: Path, overrides: tuple[str, ...], words: str) -> None:
    answer = called("plan", "local", SOURCE, *overrides, "evaluate=none", cwd=tmp_path)
    assert answer.code == 3
    assert "works only on an NVIDIA GPU, and there is no NVIDIA device" in answer.stdout
    assert words in answer.stdout


@NO_GPU
def test_levels_share_a_measurement(tmp_path: Path) -> None:
    answer = called(
        "graph", "local", SOURCE, "quantize=exl2", "evaluate=none", "-m", "quantize.bits=3,4,5",
        "--json", cwd=tmp_path,
    )  # fmt: skip
    assert answer.stdout.count('"measure"') >= 1
    names = [node["name"] for node in json.loads(answer.stdout)["nodes"]]
    assert sum(name.startswith("measure[") for name in names) == 1
    assert sum(name.startswith("quantize") for name in names) == 3


def test_the_table(tmp_path: Path) -> None:
    env = {"QPIPE_ENGINES": str(tmp_path)}
    records = json.loads(called("engines", "--json", cwd=tmp_path, env=env).stdout)["engines"]
    (record,) = [r for r in records if r["chosen_by"].get("engine") == "autoawq"]
    assert not record["usable"]
    assert record["environment"]["command"] == "qpipe engines install autoawq"
    assert record["environment"]["path"].startswith(str(tmp_path))
    assert not record["environment"]["installed"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("install", "autoawk"), "did you mean 'autoawq'?"),
        (("install",), "auto-gptq, autoawq, exllamav2, vllm-cpu, vllm-cuda"),
        (("upgrade", "autoawq"), "it is install, fetch, remove or lock"),
    ],
)
def test_wrong_usage(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    answer = called("engines", *arguments, cwd=tmp_path)
    assert answer.code == 2
    assert words in answer.stderr


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("quantize=awq", "quantize.engine=autoawq", "quantize.bits=8"), "quantize.bits"),
        (("quantize=awq", "quantize.engine=autoawq", "quantize.group_size=-1"), "in groups"),
        (("quantize=awq", "quantize.engine=autoawq", "quantize.zero_point=false"), "zero points"),
        (("quantize=gptq", "quantize.engine=auto-gptq", "quantize.lm_head=true"), "lm_head"),
        (("quantize=exl2", "quantize.bits=9"), "quantize.bits"),
    ],
)
def test_what_a_tool_cannot_do(tmp_path: Path, overrides: tuple[str, ...], words: str) -> None:
    answer = called("plan", "local", SOURCE, *overrides, "evaluate=none", cwd=tmp_path)
    assert answer.code == 2
    assert words in answer.stderr
