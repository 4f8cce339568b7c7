"""What engines leave out, or give otherwise than asked, is not taken for what was asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qpipe.engines.common import output_check
from qpipe.engines.common.module_rules import ModuleRule
from qpipe.engines.common.output_check import Wish
from qpipe.errors import CheckpointError
from qpipe.packed import structure
from qpipe.packed.structure import Structure
from tests.packed import packing
from tests.packed.checkpoints import checkpoint

LAYER = "model.layers.0."
NAMES = [f"{LAYER}self_attn.q_proj", *(f"{LAYER}mlp.experts.{i}.up_proj" for i in range(3))]
WEIGHTS = {
    name: np.random.default_rng(at).normal(size=(64, 128)).astype(np.float32)
    for at, name in enumerate([*NAMES, f"{LAYER}mlp.gate"])
}


def made(folder: Path, packed: list[str], **changed: Any) -> tuple[Structure, Path]:
    """A checkpoint of which some matrices are packed in 4 bits and groups of 32."""
    plain = {f"{name}.weight": w for name, w in {**WEIGHTS, **changed}.items()}
    source = checkpoint(folder / "source", plain)
    parts = {name: array for name, array in plain.items() if name[:-7] not in packed}
    for name in packed:
        found, config = packing.gptq(WEIGHTS[name], 4, 32)
        parts.update({f"{name}.{suffix}": array for suffix, array in found.items()})
    folder = checkpoint(folder / "made", parts, quantization_config=config)
    return structure.read(folder), source


def wish(source: Path, **given: Any) -> Wish:
    shapes = dict.fromkeys(given.pop("modules", WEIGHTS), (64, 128))
    return Wish(**{"bits": 4, "group_size": 32, **given, "engine": "some", "source": source,
                   "modules": shapes})  # fmt: skip


def test_what_was_asked_for_passes(tmp_path: Path) -> None:
    found, source = made(tmp_path, NAMES)
    assert output_check.check(found, wish(source)) == []


def test_experts_that_stay_are_refused(tmp_path: Path) -> None:
    """As bitsandbytes and torchao leave them: transformers 5 holds them as one tensor."""
    found, source = made(tmp_path, NAMES[:1])
    with pytest.raises(CheckpointError) as caught:
        output_check.check(found, wish(source))
    said = str(caught.value)
    assert "3 of 4 matrices that were to be quantized, such as model.layers.0.mlp.experts.2" in said
    assert "75.0% of their weights" in said and "GPTQ-4bit-g32" in said
    assert said.endswith("quantize.modules={experts: skip}")
    rules = dict.fromkeys(NAMES[1:], ModuleRule(skip=True))
    assert output_check.check(found, wish(source, rules=rules)) == []


def test_few_that_stay_are_noted_unless_a_rule_names_them(tmp_path: Path) -> None:
    shapes = {f"{LAYER}mlp.{i}": (64, 128) for i in range(40)}
    found, source = made(tmp_path, NAMES)
    asked = Wish("some", source, {**shapes, "vision.proj": (64, 128)})
    packed = {name: next(iter(found.modules.values())) for name in shapes}
    most = Structure(found.folder, found.config, found.label, None, packed, {})
    (note,) = output_check._check_packed(most, asked)
    assert note == (
        "1 of 41 matrices that were to be quantized, such as vision.proj, stayed as they are: "
        "2.4% of their weights; some does not pack them"
    )
    ruled = Wish("some", source, asked.modules, {"vision.proj": ModuleRule(bits=8)})
    with pytest.raises(CheckpointError, match=r"quantize\.modules=\{proj: skip\}"):
        output_check._check_packed(most, ruled)


@pytest.mark.parametrize("other", [{"bits": 8}, {"group_size": 128}, {"group_size": -1}], ids=str)
def test_other_bits_or_groups_than_asked_are_refused(tmp_path: Path, other: dict[str, int]) -> None:
    found, source = made(tmp_path, NAMES)
    with pytest.raises(CheckpointError, match=r"proj is GPTQ-4bit-g32, and .* were asked for"):
        output_check.check(found, wish(source, **other))
    ruled = {name: ModuleRule(bits=4, group_size=32) for name in NAMES}
    assert output_check.check(found, wish(source, **other, rules=ruled)) == []


def test_other_numbers_are_refused(tmp_path: Path) -> None:
    turned = WEIGHTS[NAMES[2]][::-1].copy()
    found, source = made(tmp_path, NAMES, **{NAMES[2]: turned})
    with pytest.raises(CheckpointError, match=rf"{NAMES[2]} as GPTQ-4bit-g32: its weights differ"):
        output_check.check(found, wish(source))


def test_what_rules_skip_may_not_be_packed(tmp_path: Path) -> None:
    found, source = made(tmp_path, NAMES)
    with pytest.raises(CheckpointError, match=r"1 of 4 matrices, such as .*q_proj, are packed"):
        output_check.check(found, wish(source, rules={NAMES[0]: ModuleRule(skip=True)}))
