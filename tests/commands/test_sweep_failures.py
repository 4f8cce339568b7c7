"""Sweeps of which a model or a level fails: what goes on without it, and the exit codes."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path

import pytest

from tests.cli import called

pytestmark = pytest.mark.slow

MODEL = "model.source=builtin:tinystories-d256"
SMALL = Path(__file__).parents[1] / "data" / "models" / "stories260K"


def damaged(folder: Path) -> Path:
    """A copy of the small model, with a weight that is no number."""
    model = Path(shutil.copytree(SMALL, folder))
    weights = model / "model.safetensors"
    data = bytearray(weights.read_bytes())
    (length,) = struct.unpack("<Q", data[:8])
    tensor = json.loads(data[8 : 8 + length])["model.layers.0.mlp.down_proj.weight"]
    struct.pack_into("<f", data, 8 + length + tensor["data_offsets"][0], float("nan"))
    weights.write_bytes(data)
    return model


@pytest.mark.parametrize("default", [True, False])
def test_a_model_that_fails_stops_no_other_model(default: bool, tmp_path: Path) -> None:
    models = f"model.source={damaged(tmp_path / 'bad')},{SMALL}"
    words = ("-m", models, "evaluate=none", "quantize.type=Q8_0", "executor=inline", "--json")
    stop = () if default else ("run.keep_going=false",)
    ran = called("run", "local", *words, *stop, cwd=tmp_path)
    assert ran.code == 1, ran
    document = json.loads(ran.stdout)
    nodes = {node["name"]: node["status"] for node in document["nodes"]}
    assert nodes["quantize[bad Q8_0]"] == "failed"
    assert nodes["quantize[stories260K Q8_0]"] == ("ran" if default else "skipped")
    assert document["keep_going"] is default


@pytest.mark.parametrize("wrong", ["Q99", "IQ1_S"])
def test_the_exit_code_is_not_2_once_a_batch_has_run(wrong: str, tmp_path: Path) -> None:
    """A recipe that is wrong, and a failure that is foreseen, both of the second batch."""
    words = (f"quantize.type=Q8_0,{wrong}", "hydra.sweeper.max_batch_size=1", "executor=inline")
    ran = called("run", "local", "-m", MODEL, "evaluate=none", *words, cwd=tmp_path)
    assert "ran      quantize" in ran.stderr
    assert wrong in ran.stderr
    assert ran.code == 1, ran


def test_what_is_foreseen_can_be_left_out(tmp_path: Path) -> None:
    words = ("quantize.type=Q8_0,IQ1_S", "executor=inline", "--quiet", "--json")
    sweep = ("run", "local", "-m", MODEL, "evaluate=none", *words)
    for way, code, status in (((), 2, "skipped"), (("run.skip_invalid=true",), 1, "ran")):
        ran = called(*sweep, *way, cwd=tmp_path)
        assert ran.code == code, ran
        nodes = {node["name"]: node["status"] for node in json.loads(ran.stdout)["nodes"]}
        assert nodes["quantize[tinystories-d256 Q8_0]"] == status
        assert nodes["quantize[tinystories-d256 IQ1_S]"] == "failed"
