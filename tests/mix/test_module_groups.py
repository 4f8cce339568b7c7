from __future__ import annotations

import re

import pytest

from qpipe.engines.common.fused_rules import anywhere, exact, fused
from qpipe.mix.module_groups import PackedForm, compact, forms, grouped

LAYER = "model.layers.0"


def test_what_is_computed_as_one_is_a_group() -> None:
    modules = [
        *(f"{LAYER}.self_attn.{name}_proj" for name in "qkvo"),
        *(f"{LAYER}.mlp.{name}_proj" for name in ("gate", "up", "down")),
        *(f"{LAYER}.moe.experts.{n}.{name}" for n in (0, 11) for name in ("w1", "w2")),
    ]
    groups = grouped(modules)
    assert {name: len(of) for name, of in groups.items()} == {
        f"{LAYER}.self_attn.qkv_proj": 3,
        f"{LAYER}.self_attn.o_proj": 1,
        f"{LAYER}.mlp.gate_up_proj": 2,
        f"{LAYER}.mlp.down_proj": 1,
        f"{LAYER}.moe.experts": 4,
    }
    assert [name for of in groups.values() for name in of] == modules


def test_forms_fit_the_rows() -> None:
    names = [form.name for form in forms([4, 2], [32, 128], 256)]
    assert names == ["2bit-g128", "2bit-g32", "4bit-g128", "4bit-g32"]
    assert [form.name for form in forms([4], [32, 128], 172)] == ["4bit-channel"]
    for form in forms([2, 3, 4, 8], [-1, 32], 64):
        assert PackedForm.named(form.name) == form
    # GPTQ's layout: codes, zeros, scales and the order of columns.
    assert PackedForm(4, 128).nbytes(64, 256) == 64 * 256 // 2 + 2 * 64 // 2 + 2 * 64 * 2 + 256 * 4


def test_rules_for_people_say_the_same() -> None:
    base, other, third = PackedForm(4, 128), PackedForm(8, 32), PackedForm(3, 64)
    forms_of = {}
    for layer in range(12):
        prefix = f"model.layers.{layer}.mlp"
        forms_of[f"{prefix}.up_proj"] = other if layer in (1, 11) else base
        forms_of[f"{prefix}.down_proj"] = base if layer == 3 else third
    rules = compact(forms_of, base)
    assert len(rules) == 3
    for name, form in forms_of.items():
        matching = [own for pattern, own in rules if re.search(pattern, name)]
        assert (matching or [base])[-1] == form


@pytest.mark.parametrize("spelled", [exact, anywhere])
def test_vllm_finds_a_rule_of_the_whole(spelled: object) -> None:
    """As vLLM looks: re.match with the name of what it computes as one."""
    assert callable(spelled)
    parts = [f"{LAYER}.self_attn.{name}_proj" for name in "qkv"]
    down, skipped = f"{LAYER}.mlp.down_proj", [f"{LAYER}.mlp.{n}_proj" for n in ("gate", "up")]
    rule = {"bits": 8, "group_size": 32}
    dynamic = {"+:" + spelled(name): rule for name in (*parts, down)}
    dynamic |= {"-:" + spelled(name): {} for name in skipped}
    rules = fused(dynamic, [*parts, down, *skipped], spelled=spelled)
    assert rules["+:" + exact(f"{LAYER}.self_attn.qkv_proj")] == rule
    assert rules["-:" + exact(f"{LAYER}.mlp.gate_up_proj")] == {}
    assert len(rules) == len(dynamic) + 2
    dynamic["+:" + spelled(parts[0])] = {"bits": 4}  # not alike: the whole has no rule
    assert len(fused(dynamic, parts, spelled=spelled)) == len(dynamic)
