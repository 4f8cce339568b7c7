"""A checkpoint that somebody else quantized, from the command line: measured, and never again
quantized."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qpipe.gguf import reader, values
from qpipe.gguf.checkpoint import read_tensors
from qpipe.packed.cast import as_floats
from qpipe.packed.write import TensorStream, stored, write
from tests.cli import called
from tests.packed.checkpoints import entry

STORIES = Path(__file__).parents[1] / "data" / "models" / "stories260K"
WEIGHTS = {"num_bits": 8, "type": "int", "strategy": "channel", "symmetric": True}
GROUP = {"targets": ["Linear"], "weights": WEIGHTS, "format": "int-quantized"}
CONFIG = {
    "quant_method": "compressed-tensors", "format": "int-quantized", "ignore": ["lm_head"],
    "quantization_status": "compressed", "config_groups": {"group_0": GROUP},
}  # fmt: skip


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """stories260K with its matrices in eight bits and a scale a row, as compressed-tensors."""
    folder = tmp_path_factory.mktemp("packed") / "w8"
    shutil.copytree(STORIES, folder)
    (folder / "model.safetensors").unlink()
    entries: list[TensorStream] = []
    for name, tensor in read_tensors(STORIES).items():
        if "_proj" not in name:
            entries.append(TensorStream.copy(tensor))
            continue
        floats = as_floats(b"".join(stored(tensor)), tensor.dtype).reshape(tensor.shape)
        scale = (np.abs(floats).max(axis=1, keepdims=True) / 127).astype(np.float32)
        entries.append(entry(name, np.round(floats / scale).astype(np.int8)))
        entries.append(entry(f"{name}_scale", scale))
    write(folder / "model.safetensors", entries)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": CONFIG}))
    return folder


@pytest.mark.parametrize(
    ("method", "way_out"),
    [
        ("quantize=rtn quantize.group_size=-1", "quantize=none quantize.dtype=source"),
        ("quantize=gptq quantize.group_size=-1", "model.allow_requantize=true"),
        ("quantize.type=Q4_0", "model.allow_requantize=true"),
    ],
)
def test_quantizing_it_again_is_refused_in_plan(
    source: Path, tmp_path: Path, method: str, way_out: str
) -> None:
    few = tmp_path / "w4"
    few.mkdir()
    for path in source.iterdir():
        (few / path.name).symlink_to(path)
    config = (source / "config.json").read_text()
    (few / "config.json").unlink()
    (few / "config.json").write_text(config.replace('"num_bits": 8', '"num_bits": 4'))
    recipe = ("plan", "local", f"model.source={few}", *method.split(), "evaluate=none")
    answer = called(*recipe, cwd=tmp_path)
    assert answer.code == 1
    told = "model.source is quantized already (compressed-tensors, 4 bits); quantizing twice loses"
    assert told in answer.stdout
    assert way_out in answer.stdout
    assert called(*recipe, "model.allow_requantize=true", cwd=tmp_path).code == 0


def test_eight_bits_are_dequantized_and_that_is_said(source: Path, tmp_path: Path) -> None:
    recipe = ("local", f"model.source={source}", "quantize.type=Q4_0", "evaluate=none")
    told = "model.source was quantized already (compressed-tensors, 8 bits), and dequantized"
    assert told in called("plan", *recipe, "-v", cwd=tmp_path).stdout
    answer = called(
        "run", *recipe, "run.reference=null", "executor=inline", "--json", cwd=tmp_path
    )  # fmt: skip
    assert answer.code == 0, answer.stderr
    row = json.loads(answer.stdout)["rows"][-1]
    assert any(told in note for note in row["notes"])
    metadata = values.decoded(reader.read(Path(row["artifact"], "model.gguf")).metadata)
    assert metadata["qpipe.source_quantization"] == "compressed-tensors, 8 bits"


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"architectures": ["OrionForCausalLM"]}, "converter takes OrionForCausalLM, which"),
        ({"quantization_config": {"quant_method": "bitnet"}}, "is quantized by bitnet, which"),
    ],
)
def test_what_llama_cpps_converter_is_for(
    fields: dict[str, Any], told: str, source: Path, tmp_path: Path
) -> None:
    """A class that qpipe does not know, or a method that it does not read."""
    folder = tmp_path / "model"
    folder.mkdir()
    for path in source.iterdir():
        (folder / path.name).symlink_to(path)
    config = json.loads((folder / "config.json").read_text()) | fields
    (folder / "config.json").unlink()
    (folder / "config.json").write_text(json.dumps(config))
    recipe = ("local", f"model.source={folder}", "quantize.type=Q8_0", "evaluate=none")
    answer = called("plan", *recipe, cwd=tmp_path)
    assert told in answer.stdout + answer.stderr


@pytest.mark.slow
def test_it_is_measured_as_it_is(source: Path, tmp_path: Path) -> None:
    """In the table of the model that it was made of: a little worse."""
    answer = called(
        "run", "local", f"model.source={source}", "quantize=none", f"run.reference={STORIES}",
        "evaluate.n_ctx=128", "evaluate.chunks=4", "executor=inline", "--json", cwd=tmp_path,
    )  # fmt: skip
    assert answer.code == 0, answer.stderr
    plain, packed = json.loads(answer.stdout)["rows"]
    assert (packed["format"], plain["format"]) == ("W8A16", "FP32")
    assert (packed["name"], plain["name"]) == ("w8 W8A16", "FP32")
    assert packed["model"] == plain["model"] == "stories260K"
    assert packed["weights"] == plain["weights"]
    assert packed["bits_per_weight"] < 12 < plain["bits_per_weight"]
    assert packed["ppl_delta"] == pytest.approx(packed["ppl"] - plain["ppl"])
    assert 0 < abs(packed["ppl_delta"] / plain["ppl"]) < 0.01


@pytest.mark.slow
def test_another_vocabulary_is_refused_before_anything_of_it_is_measured(
    source: Path, tmp_path: Path
) -> None:
    answer = called(
        "run", "local", f"model.source={source}", "quantize=none", "evaluate.n_ctx=128",
        "evaluate.chunks=4", "run.reference=builtin:tinystories-d256", "executor=inline",
        cwd=tmp_path,
    )  # fmt: skip
    assert answer.code == 1
    told = "the tokenizer of the model to measure is not that of run.reference: from token"
    assert told in answer.stdout + answer.stderr
    assert "perplexity[w8] (because of same_tokens[w8])" in answer.stdout + answer.stderr
