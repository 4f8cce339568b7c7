"""A fine-tune's config.json that asks for a package which is not here: computed without it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.cli import qpipe
from tests.engines.running import MODEL, Bench

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("engines")]


@pytest.mark.parametrize("how", ["quantize=bnb", "quantize=rtn"])
def test_it_is_quantized_and_measured(how: str, tmp_path: Path) -> None:
    source = Path(shutil.copytree(MODEL, tmp_path / "model"))
    config = json.loads((source / "config.json").read_text())
    wish = {"_attn_implementation": "flash_attention_2"}
    (source / "config.json").write_text(json.dumps(config | wish))
    answer = qpipe(
        *("run", "local", f"model.source={source}", how, "evaluate.n_ctx=64", "evaluate.chunks=2"),
        "--json", cwd=tmp_path, timeout=300,
    )  # fmt: skip
    assert answer.code == 0, answer.stderr[-2000:]
    reference, row = json.loads(answer.stdout)["rows"]
    assert 0.9 < row["ppl"] / reference["ppl"] < 1.2
    assert "implementation" not in (Path(row["artifact"]) / "config.json").read_text()


def test_a_packed_checkpoint_that_gptqmodel_reads_is_measured(bench: Bench, tmp_path: Path) -> None:
    asked = ("quantize=gptq", "quantize.modules={down_proj: skip}")
    row = bench.rows(*asked)[-1]
    source = Path(shutil.copytree(bench.artifact(*asked), tmp_path / "model"))
    (source / "manifest.json").unlink()
    config = json.loads((source / "config.json").read_text())
    assert config["quantization_config"]["dynamic"]
    wish = {"_attn_implementation": "flash_attention_2"}
    (source / "config.json").write_text(json.dumps(config | wish))
    answer = qpipe(
        *("run", "local", f"model.source={source}", "quantize=none", "quantize.dtype=source"),
        *("evaluate.n_ctx=256", "evaluate.chunks=40", "--json"), cwd=tmp_path, timeout=300,
    )  # fmt: skip
    assert answer.code == 0, answer.stderr[-2000:]
    (measured,) = json.loads(answer.stdout)["rows"]
    assert measured["ppl"] == row["ppl"]
