"""Rules for single modules reach the tensors; what shapes do not allow is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qpipe.engines.llmcompressor import LlmcompressorRtn, LlmcompressorRtnParams
from qpipe.errors import RecipeError
from qpipe.machine.filesystem import link
from qpipe.packed import structure
from qpipe.stages.base import Work
from tests.engines.running import MODEL, Bench, manifest
from tests.engines.ways import GPTQ_RULED, RTN_RULED, SKIPPED

SMALL = Path(__file__).parents[1] / "data" / "models" / "stories260K"


def work(out: Path, model: Path) -> Work:
    out.mkdir()
    return Work({"model": model}, out, 1, lambda done, total, unit: None, {})


def test_groups_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"group_size=128: rows of model.*have 172 weights"):
        LlmcompressorRtn().run(LlmcompressorRtnParams(), work(tmp_path / "out", SMALL))


def test_a_rule_without_effect_is_refused(tmp_path: Path) -> None:
    params = LlmcompressorRtnParams(modules={"k_porj": "skip"})  # type: ignore[dict-item]
    with pytest.raises(RecipeError, match="'k_porj' matches none of the 28 modules"):
        LlmcompressorRtn().run(params, work(tmp_path / "out", MODEL))


def test_a_rule_that_later_ones_overrule_is_refused(tmp_path: Path) -> None:
    rules = {"k_proj": "skip", "q_proj": 8, "attn.[kq]_proj": 4}
    params = LlmcompressorRtnParams(modules=rules)  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match=r"'k_proj' has no effect: 'attn.\[kq\]_proj' and what"):
        LlmcompressorRtn().run(params, work(tmp_path / "out", MODEL))


@pytest.mark.slow
@pytest.mark.xdist_group("engines")
@pytest.mark.parametrize(
    ("way", "types"),
    [
        (RTN_RULED, {"INT4-g128": 20, "INT8-g64": 4, "BF16": 14}),
        (GPTQ_RULED, {"GPTQ-4bit-g128": 20, "GPTQ-8bit-g64": 4, "BF16": 14}),
    ],
)
def test_rules_reach_the_tensors(bench: Bench, way: tuple[str, ...], types: dict[str, Any]) -> None:
    reference, made = bench.rows(*way)
    assert manifest(Path(made["artifact"]))["facts"]["tensor_types"] == types
    assert made["ppl"] < 1.05 * reference["ppl"]


@pytest.mark.slow
@pytest.mark.xdist_group("engines")
@pytest.mark.parametrize("way", SKIPPED.values(), ids=SKIPPED)
def test_skipped_modules_stay_as_they_were(bench: Bench, way: tuple[str, ...]) -> None:
    made = bench.rows(*way)[-1]
    found = structure.read(Path(made["artifact"]))
    assert len(found.modules) == 21
    assert not [name for name in found.modules if "layers.0." in name]


def test_any_checkpoint_is_kept_as_it_is(tmp_path: Path) -> None:
    """The reference of quantized checkpoints shares the bytes of what was downloaded."""
    from qpipe.engines.precision import Cast, CastParams

    source = tmp_path / "source"
    source.mkdir()
    for path in MODEL.iterdir():
        link(path, source / path.name)
    out = tmp_path / "out"
    out.mkdir()
    origin: dict[str, Any] = {"params": {}, "facts": {}, "digest": "d"}
    asked = Work(
        {"checkpoint": source}, out, 1, lambda done, total, unit: None, {},
        origins={"checkpoint": origin},
    )  # fmt: skip
    facts = Cast().run(CastParams(), asked)
    assert facts.format == "BF16" and facts.bits_per_weight == 16
    assert sorted(p.name for p in out.iterdir()) == sorted(p.name for p in source.iterdir())
    rewritten = tmp_path / "fp32"
    rewritten.mkdir()
    asked = Work(
        {"checkpoint": source}, rewritten, 1, lambda done, total, unit: None, {},
        origins={"checkpoint": origin},
    )  # fmt: skip
    assert Cast().run(CastParams(dtype="fp32"), asked).format == "FP32"
    assert json.loads((rewritten / "config.json").read_text())["dtype"] == "float32"
