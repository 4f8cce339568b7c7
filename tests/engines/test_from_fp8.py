"""A model published in FP8 alone, quantized by GPTQModel as from bfloat16, resume included."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qpipe.core.manifest import Manifest
from qpipe.errors import CheckpointError
from qpipe.packed import dequantize
from tests.cli import qpipe
from tests.engines.running import ASKED, MADE, MODEL, OFFLINE, Bench, rows
from tests.killing import files_below, killed_when
from tests.packed import fp8

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("engines")]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fp8.make(MODEL, tmp_path_factory.mktemp("fp8") / "model")


@pytest.fixture(scope="module")
def plain(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("plain")
    dequantize.dequantize(source, out)
    return out


def test_numbers_are_transformers_own(source: Path, plain: Path) -> None:
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, FineGrainedFP8Config

    settings = FineGrainedFP8Config(weight_block_size=fp8.BLOCK, dequantize=True)
    theirs = AutoModelForCausalLM.from_pretrained(
        source, quantization_config=settings, dtype=torch.bfloat16
    ).state_dict()
    ours = load_file(plain / "model.safetensors")
    assert not [name for name in ours if name.endswith("_scale_inv")]
    for name, value in ours.items():
        assert torch.equal(value, theirs[name].to(value.dtype)), name
    config = json.loads((plain / "config.json").read_text())
    assert "quantization_config" not in config
    assert config["dtype"] == "bfloat16"


def test_scales_that_do_not_fit(source: Path, tmp_path: Path) -> None:
    config = json.loads((source / "config.json").read_text())
    for size, words in (([64, 128], r"needs \[4, 6\]"), (None, r"is \[2, 6\], for a matrix")):
        config["quantization_config"]["weight_block_size"] = size
        folder = tmp_path / str(size)
        folder.mkdir()
        (folder / "model.safetensors").hardlink_to(source / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "out").mkdir()
        with pytest.raises(CheckpointError, match=words):
            dequantize.dequantize(folder, folder / "out")


def test_gptq_goes_on_after_a_kill_to_what_bfloat16_gives(
    source: Path, plain: Path, bench: Bench, tmp_path: Path
) -> None:
    of_fp8 = (*ASKED, *MADE, "quantize=gptq", f"model.source={source}")
    killed_when(
        lambda: files_below(tmp_path / "outputs" / "store" / "partial", "CURRENT") or None,
        *of_fp8, cwd=tmp_path, env=OFFLINE, timeout=600,
    )  # fmt: skip
    answer = qpipe(*of_fp8, "--json", cwd=tmp_path, env=OFFLINE, timeout=600)
    assert answer.code == 0, answer.stderr[-2000:]
    row = rows(json.loads(answer.stdout))[-1]
    (of_plain,) = bench.several((*MADE, "quantize=gptq", f"model.source={plain}"))
    resumed, whole = (Manifest.load(Path(r["artifact"])) for r in (row, rows(of_plain)[-1]))
    assert resumed.facts["resumed_layers"] in (1, 2, 3, 4)
    assert whole.facts["resumed_layers"] == 0
    weights = [
        {f.path: f.sha256 for f in m.files if f.path != "README.md"} for m in (resumed, whole)
    ]
    assert weights[0] == weights[1]
    assert any("quantized already (fp8, 8 bits), and dequantized" in note for note in row["notes"])


def test_other_engines_take_it_too(source: Path, bench: Bench) -> None:
    answer = qpipe("plan", "local", f"model.source={source}", "quantize=rtn", cwd=bench.folder)
    assert answer.code == 0, answer.stdout + answer.stderr
