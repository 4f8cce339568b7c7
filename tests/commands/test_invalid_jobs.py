"""Sweeps of which some jobs cannot be: named, left out where that may be, and never lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli import Answer, called

pytestmark = pytest.mark.slow

MODEL = "model.source=builtin:tinystories-d256"
SMALL = Path(__file__).parents[1] / "data" / "models" / "stories260K"


def swept(tmp_path: Path, verb: str, *arguments: str) -> Answer:
    return called(verb, "local", MODEL, "evaluate=none", "-m", *arguments, cwd=tmp_path)


def test_the_wrong_jobs_of_a_sweep_are_named(tmp_path: Path) -> None:
    pairs = ("quantize=gptq,awq", "quantize.bits=3,4")
    answer = swept(tmp_path, "plan", *pairs)
    assert answer.code == 2
    assert "1 of the 4 jobs of the sweep cannot be run" in answer.stderr
    assert "quantize=awq quantize.bits=3: quantize.bits" in answer.stderr
    assert "run.skip_invalid=true" in answer.stderr

    for way in ("--keep-going", "run.skip_invalid=true"):
        answer = swept(tmp_path, "plan", *pairs, way, "--json")
        document = json.loads(answer.stdout)
        assert answer.code == 0
        assert [job["name"] for job in document["invalid"]] == ["quantize=awq quantize.bits=3"]
        made = [node for node in document["nodes"] if node["stage"] == "quantize"]
        assert len(made) == 3


def test_a_setting_is_held_against_the_group_of_its_own_job(tmp_path: Path) -> None:
    answer = swept(tmp_path, "plan", "quantize=awq,gptq", "quantize.desc_act=true")
    assert answer.code == 2
    assert "quantize=awq: the override 'quantize.desc_act=true'" in answer.stderr
    assert "version" in answer.stderr  # a field of quantize=awq
    assert "tensor_types" not in answer.stderr  # one of quantize=gguf, which nobody asked for


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("quantize.type=Q8_0,Q4_0", "quantize.type=Q2_K"), "are of one key"),
        (("quantize.type=range(0,100000000)",), "more than 10,000 jobs"),
        (("vars.x=shuffle(range(0,100000000))",), "more than 10,000 jobs"),
        (("vars.x=range(0,200)", "vars.y=range(0,200)"), "hydra.sweeper.max_jobs=NUMBER"),
        (
            ("vars.x=range(0,3)", "hydra.sweeper.max_jobs=2"),
            "the sweep comes to more than 2 jobs",
        ),
    ],
)
def test_sweeps_that_cannot_be_meant(
    tmp_path: Path, overrides: tuple[str, ...], words: str
) -> None:
    answer = swept(tmp_path, "plan", *overrides)
    assert answer.code == 2
    assert words in answer.stderr


def test_a_sweep_of_wrong_jobs_alone(tmp_path: Path) -> None:
    answer = swept(tmp_path, "run", "quantize.type=Q9,Q10", "--keep-going")
    assert answer.code == 2
    assert "2 of the 2 jobs of the sweep cannot be run" in answer.stderr
    assert "--keep-going" not in answer.stderr


def test_a_stage_that_finds_its_settings_wrong_has_failed(tmp_path: Path) -> None:
    """2 would say that nothing ran. The wrong job is left out, and that is a failure too."""
    types = "quantize.type=Q8_0,IQ1_S,Q99"
    answer = swept(tmp_path, "run", types, "--keep-going", "--json")
    document = json.loads(answer.stdout)
    assert answer.code == 1
    statuses = {node["name"]: node["status"] for node in document["nodes"]}
    assert statuses["quantize[tinystories-d256 Q8_0]"] == "ran"
    assert statuses["quantize[tinystories-d256 IQ1_S]"] == "failed"
    assert [job["name"] for job in document["invalid"]] == ["quantize.type=Q99"]
    again = swept(tmp_path, "run", "quantize.type=Q8_0,Q99", "run.skip_invalid=true")
    assert again.code == 0
    assert "left out: quantize.type=Q99: quantize.type" in again.stdout


def test_one_reason_has_one_line(tmp_path: Path) -> None:
    """However many models a wrong level is swept over; names as their user wrote them."""
    sweep = ("-m", "quantize.type=Q99,Q8_0", f"model.source=builtin:tinystories-d256,{SMALL}")
    answer = called("plan", "local", *sweep, cwd=tmp_path)
    (line,) = [line for line in answer.stderr.splitlines() if "no quantization" in line]
    first = "quantize.type=Q99 model.source=builtin:tinystories-d256"
    assert line.startswith(f"{first} and 1 other: quantize.type (the override")
