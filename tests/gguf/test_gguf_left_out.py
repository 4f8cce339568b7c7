"""What a checkpoint has and the GGUF file of its text model has not, and the file for the rest."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from qpipe import errors
from qpipe.gguf import left_out, pydist, reader, values
from qpipe.gguf.config import Config
from qpipe.gguf.pydist import streaming
from tests.cli import called
from tests.gguf import samples
from tests.gguf.arch_checkpoints import HIDDEN, write
from tests.gguf.test_gguf_pydist import FIELDS, SHAPES
from tests.gguf.vision_checkpoint import CLASS, checkpoint

installed = pytest.mark.skipif(pydist.problem() is not None, reason=str(pydist.problem()))


def test_tensors_in_words() -> None:
    names = [f"vision_tower.layers.{i}.fc.weight" for i in range(3)]
    names += ["mtp.fc.weight", "model.layers.4.eh_proj.weight", "model.layers.3.odd.weight"]
    names += ["lm_head.weight", "model.layers.0.self_attn.rotary_emb.inv_freq"]
    assert left_out.notes("it", names, 4, tied=True) == [
        f"it left out {left_out.TOWERS} (3 tensors)",
        "it left out layers that predict further tokens (2 tensors)",
        "it left out model.layers.3.odd.weight",
    ]
    assert left_out.notes("it", names[:3] * 2, None, plain=True) == [
        "it left out vision_tower.layers.0.fc.weight, vision_tower.layers.1.fc.weight, "
        "vision_tower.layers.2.fc.weight, vision_tower.layers.0.fc.weight and 2 more tensors"
    ]
    assert left_out.notes("it", ["lm_head.weight"], 4) == ["it left out lm_head.weight"]


@installed
@pytest.mark.slow
def test_what_the_converter_drops_in_silence(tmp_path: Path) -> None:
    """It takes every tensor whose name begins with mlp for a projector of images."""
    odd = {"model.norm.bias": (HIDDEN,), "mlp.odd.weight": (HIDDEN,)}
    folder = write(tmp_path / "m", FIELDS, SHAPES | odd)
    with streaming.opened(folder, outtype="F16") as conversion:
        (note,) = conversion.plan.notes
    assert note == f"{pydist.tool()} left out mlp.odd.weight"


@installed
@pytest.mark.slow
def test_towers_are_a_file_of_their_own(tmp_path: Path) -> None:
    """That of the converter, byte for byte; without it a note says that they are left out."""
    folder = checkpoint(tmp_path / "Tiny-Vision")
    text = streaming.convert(folder, tmp_path / "text.gguf", outtype="F16")
    (note,) = text.notes
    assert note.endswith(f"left out {left_out.TOWERS} (39 tensors)")
    towers = streaming.convert(folder, tmp_path / "ours.gguf", outtype="F16", towers=True)
    assert (towers.architecture, towers.notes, len(towers.outputs)) == ("clip", (), 39)
    with pydist.shown(folder, None) as shown:
        options = ("--mmproj", "--outtype", "f16", "--outfile", str(tmp_path / "own.gguf"))
        command = [sys.executable, streaming.script(), str(shown), *options]
        subprocess.run(command, env=pydist.environment(shown), check=True, capture_output=True)
    (own,) = tmp_path.glob("*own.gguf")
    assert (tmp_path / "ours.gguf").read_bytes() == own.read_bytes()
    metadata = values.decoded(reader.read(own).metadata)
    assert metadata["general.type"] == "mmproj" and metadata["clip.projector_type"] == "gemma3"


def test_a_model_without_towers(tmp_path: Path) -> None:
    def refused(fields: dict[str, object]) -> str:
        (tmp_path / "config.json").write_text(json.dumps(fields))
        with pytest.raises(errors.CheckpointError) as raised:
            pydist.require_towers(Config.read(tmp_path))
        return str(raised.value)

    assert "OrionForCausalLM has neither vision_config nor audio_config" in refused(FIELDS)
    if pydist.known_classes():
        unknown = refused({"architectures": [CLASS + "s"], "vision_config": {"hidden_size": 1}})
        assert "does not know the towers of" in unknown and f"did you mean {CLASS!r}" in unknown


@installed
@pytest.mark.slow
def test_a_run_with_levels_and_towers(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "Tiny-Vision")
    given = ("local", f"model.source={folder}", "evaluate=none", "run.reference=null")
    planned = called("plan", *given, "quantize.type=Q8_0", cwd=tmp_path)
    assert f"{CLASS}: its towers for images are left out" in planned.stderr, planned
    assert "model.mmproj=true makes them a file of their own" in planned.stderr
    made = called(
        "run", *given, "model.mmproj=true", "-m", "quantize.type=Q8_0,Q4_0", "--json", cwd=tmp_path
    )
    assert made.code == 0, made
    again = called("run", *given, "model.mmproj=true", "quantize.type=Q8_0", cwd=tmp_path)
    assert "mmproj-Tiny-Vision-F16.gguf" in again.stderr, again
    assert "are left out of what" not in made.stderr
    nodes = [node["stage"] for node in json.loads(made.stdout)["nodes"]]
    assert sorted(nodes) == ["download", "mmproj", "quantize", "quantize"]
    models, _ = sorted(tmp_path.glob("outputs/runs/*/models"))
    names = sorted(path.name for path in models.iterdir())
    assert names == [
        "Tiny-Vision-Q4_0.gguf", "Tiny-Vision-Q8_0.gguf", "mmproj-Tiny-Vision-F16.gguf",
    ]  # fmt: skip
    listed = called("ls", "--stage", "mmproj", cwd=tmp_path)
    assert "Tiny-Vision" in listed.stdout and "F16" in listed.stdout, listed


@installed
@pytest.mark.slow
def test_towers_of_a_model_that_has_none(tmp_path: Path) -> None:
    source = samples.MODELS["tinystories-d256"]
    given = ("plan", "local", f"model.source={source}", "evaluate=none", "model.mmproj=true")
    refused = called(*given, cwd=tmp_path)
    assert refused.code == 1, refused
    assert "there are no towers to make an mmproj of" in refused.stderr + refused.stdout
