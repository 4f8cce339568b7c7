"""A fine-tune's config.json that asks for a package which is not here: computed without it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.engines.running import MEASURED, MODEL, Bench, rows
from tests.engines.ways import GPTQ_RULED

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("engines")]

HOW = ("quantize=bnb", "quantize=rtn")


def wishing(model: Path, to: Path) -> str:
    """The override for a copy of a model whose config.json has that wish."""
    folder = Path(shutil.copytree(model, to))
    (folder / "manifest.json").unlink(missing_ok=True)
    config = json.loads((folder / "config.json").read_text())
    wish = {"_attn_implementation": "flash_attention_2"}
    (folder / "config.json").write_text(json.dumps(config | wish))
    return f"model.source={folder}"


@pytest.fixture(scope="module")
def packed(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A checkpoint that GPTQModel reads, with the wish."""
    artifact = bench.artifact(*GPTQ_RULED)
    config = json.loads((artifact / "config.json").read_text())
    assert config["quantization_config"]["dynamic"]
    return wishing(artifact, tmp_path_factory.mktemp("packed") / "model")


@pytest.fixture(scope="module")
def documents(
    bench: Bench, packed: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """By what is asked for: all runs of these tests, GPTQModel's last."""
    plain = wishing(MODEL, tmp_path_factory.mktemp("plain") / "model")
    found = bench.several(
        *((*MEASURED, plain, how) for how in HOW),
        (*MEASURED, packed, "quantize=none", "quantize.dtype=source"),
    )
    return dict(zip((*HOW, packed), found, strict=True))


@pytest.mark.parametrize("how", HOW)
def test_it_is_quantized_and_measured(how: str, documents: dict[str, dict[str, Any]]) -> None:
    reference, row = rows(documents[how])
    assert 0.9 < row["ppl"] / reference["ppl"] < 1.2
    assert "implementation" not in (Path(row["artifact"]) / "config.json").read_text()


def test_a_packed_checkpoint_that_gptqmodel_reads_is_measured(
    bench: Bench, packed: str, documents: dict[str, dict[str, Any]]
) -> None:
    (measured,) = rows(documents[packed])
    assert measured["ppl"] == bench.rows(*GPTQ_RULED)[-1]["ppl"]
