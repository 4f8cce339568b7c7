"""Bits and groups of a checkpoint's modules for a target, as an engine is given them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydantic
import pytest

from qpipe.engines.autoround import AutoroundParams
from qpipe.engines.common import module_mix
from qpipe.engines.common.module_rules import resolve
from qpipe.engines.gptqmodel import GptqmodelAwqParams, GptqmodelGptqParams
from qpipe.engines.llmcompressor import LlmcompressorRtnParams
from qpipe.errors import RecipeError
from qpipe.mix.module_groups import forms, grouped
from qpipe.mix.sensitivity import InType, Rung, Sensitivity, TensorLosses
from qpipe.packed.matrices import quantizable
from qpipe.sizes.predict import predict
from qpipe.sources.pinning import DATA
from qpipe.stages.base import Order

MODEL = DATA / "tinystories-d256"


@pytest.fixture(scope="module")
def order(tmp_path_factory: pytest.TempPathFactory) -> Order:
    """A model, and losses that fall fourfold with each bit, most of them in the last layers."""
    folder = tmp_path_factory.mktemp("losses")
    modules = quantizable(MODEL)
    tensors = {}
    for number, (group, members) in enumerate(grouped(modules).items()):
        rows, columns = sum(modules[m][0] for m in members), modules[members[0]][1]
        losses = {
            form.name: InType(
                form.nbytes(rows, columns),
                0.1,
                (1 + number) ** 2 * 4.0**-form.bits * (1 + form.group_size / 512),
                True,
            )
            for form in forms([2, 3, 4, 8], [32, 64, 128], columns)
        }
        tensors[group] = TensorLosses((rows, columns), losses)
    Sensitivity(tensors, [Rung(4.0, 1.0, 1.0, 0.1)], "a.txt", 4096).save(folder)
    return Order({"model": MODEL, "sensitivity": folder})


def chosen(params: Any, order: Order) -> module_mix.ModuleMix:
    mix = module_mix.chosen(params, order)
    assert mix is not None
    return mix


def forms_of(mix: module_mix.ModuleMix, rules: Any) -> dict[str, tuple[int, int]]:
    """Bits and groups of each module by rules of a recipe."""
    ruled = resolve(rules, quantizable(MODEL))
    base = mix.bits, mix.group_size
    forms = {}
    for name in quantizable(MODEL):
        rule = ruled.get(name)
        forms[name] = base if rule is None else (rule.bits or base[0], rule.group_size or base[1])
    return forms


@pytest.mark.parametrize(
    "params",
    [
        GptqmodelGptqParams(target={"bpw": 6.0}),  # type: ignore[arg-type]
        AutoroundParams(target={"bpw": 5.0}),  # type: ignore[arg-type]
        LlmcompressorRtnParams(target={"bpw": 6.5}),  # type: ignore[arg-type]
    ],
    ids=["gptq", "autoround", "rtn"],
)
def test_a_mix_keeps_its_bits_and_uses_them(params: Any, order: Order) -> None:
    mix = chosen(params, order)
    given = mix.given_to(params)
    assert given.target is None
    assert params.target.bpw - 0.15 < mix.size.bits_per_weight <= params.target.bpw
    forms = forms_of(mix, given.modules)
    assert len({*forms.values()}) > 1
    assert {bits for bits, _ in forms.values()} <= {*params.MIXED_BITS}
    # What vLLM computes as one has one form.
    for members in grouped(forms).values():
        assert len({forms[name] for name in members}) == 1
    # More is lost in the last layers: they have no fewer bits than the first.
    layers = [forms[f"model.layers.{at}.mlp.down_proj"][0] for at in (0, -1 % _depth(forms))]
    assert layers[0] <= layers[1]
    # The rules for people say the same.
    short = {pattern: {**wishes} for pattern, wishes in mix.rules}
    again = type(params)(modules=short)
    assert forms_of(mix, again.modules) == forms


def _depth(forms: dict[str, Any]) -> int:
    return sum(name.endswith("mlp.down_proj") for name in forms)


def test_a_size_is_kept_by_what_is_predicted(order: Order) -> None:
    ends = [_whole(bits, size) for bits, size in ((2, 128), (8, 32))]
    size = sum(ends) // 2
    mix = chosen(GptqmodelGptqParams(target={"size": size}), order)  # type: ignore[arg-type]
    assert size * 0.99 < mix.size.file_bytes <= size
    assert f"size {size:,} bytes" in mix.note


def _whole(bits: int, size: int) -> int:
    return predict(MODEL, {"method": "gptq", "bits": bits, "group_size": size}).file_bytes


def test_outside_both_ends_are_named(order: Order) -> None:
    for target in ({"size": 1000}, {"size": 10**9}, {"bpw": 2.0}, {"bpw": 15.9}):
        with pytest.raises(RecipeError) as refused:
            chosen(GptqmodelGptqParams(target=target), order)  # type: ignore[arg-type]
        assert "the smallest is" in str(refused.value)
        assert "the largest" in str(refused.value)
        assert "stages.sensitivity.with.bits" in str(refused.value)


def test_memory_is_that_of_vllm(order: Order) -> None:
    params = GptqmodelGptqParams(
        target={"memory": "1.9GB", "ctx": 512}  # type: ignore[arg-type]
    )
    with pytest.raises(RecipeError) as refused:  # far more than the largest takes
        chosen(params, order)
    assert "bytes of memory at 512 tokens" in str(refused.value)
    tight = GptqmodelGptqParams(target={"memory": "10MB", "ctx": 512})  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match=r"512 tokens of context take .*vllm itself"):
        chosen(tight, order)


def test_a_recipes_own_rules_go_before(order: Order) -> None:
    rules = {r"layers\.0\.": "skip", r"layers\.1\.mlp": 8}
    params = GptqmodelGptqParams(target={"bpw": 8.0}, modules=rules)  # type: ignore[arg-type]
    mix = chosen(params, order)
    given = mix.given_to(params)
    ruled = resolve(given.modules, quantizable(MODEL))
    assert all(rule.skip for name, rule in ruled.items() if "layers.0." in name)
    assert all(rule.bits == 8 for name, rule in ruled.items() if "layers.1.mlp" in name)


@pytest.mark.parametrize(
    ("params", "fields", "words"),
    [
        (GptqmodelGptqParams, {"bits": 8}, "bits is 8, and target chooses"),
        (GptqmodelGptqParams, {"group_size": 32}, "group_size is 32, and target chooses"),
        (GptqmodelGptqParams, {"lm_head": True}, "lm_head is True"),
        (AutoroundParams, {"format": "auto_awq"}, r"take quantize.format=auto_gptq"),
        (AutoroundParams, {"format": "gguf:q4_k_m"}, "take quantize=gguf"),
        (GptqmodelAwqParams, {}, "awq has one form for all modules.*quantize=gptq"),
    ],
)
def test_what_cannot_be_is_refused(params: Any, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=words):
        params(**fields, target={"bpw": 5.0})


def test_another_models_losses_are_refused(order: Order, tmp_path: Path) -> None:
    Sensitivity({}, [], "a.txt", 1).save(tmp_path)
    other = Order({**order.inputs, "sensitivity": tmp_path})
    with pytest.raises(RecipeError, match="another model's"):
        chosen(GptqmodelGptqParams(target={"bpw": 6.0}), other)  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="wire a stage `module_sensitivity`"):
        chosen(
            GptqmodelGptqParams(target={"bpw": 6.0}),  # type: ignore[arg-type]
            Order({"model": MODEL}),
        )
