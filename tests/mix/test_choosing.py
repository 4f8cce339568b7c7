"""A mix for each kind of target, from losses as an artifact has them."""

from __future__ import annotations

from pathlib import Path

import pydantic
import pytest

from qpipe.errors import RecipeError
from qpipe.gguf.types import GGMLType
from qpipe.mix.choosing import FixedParts, choose
from qpipe.mix.sensitivity import InType, Rung, Sensitivity, TensorLosses
from qpipe.mix.target import MixTarget
from qpipe.results.losses import place

SHAPES = {
    "token_embd.weight": (512, 256),
    "blk.0.attn_v.weight": (256, 256),
    "blk.0.ffn_down.weight": (256, 768),
}
KINDS = ("Q3_K", "Q4_K", "Q6_K")
FILE = FixedParts(overhead=1000, others={"norm": 2048}, other_weights=512, pinned={})


def sensitivity(worth: dict[str, float]) -> Sensitivity:
    tensors = {}
    for name, shape in SHAPES.items():
        losses = {}
        for kind, share in zip(KINDS, (16.0, 4.0, 1.0), strict=True):
            size = GGMLType[kind].tensor_bytes(shape)
            losses[kind] = InType(size, share * 1e-3, share * worth.get(name, 1e-3), True)
        tensors[name] = TensorLosses(shape, losses)
    # Whole mixes lose twice what their tensors do, one by one.
    rungs = [Rung(4.0, each, 2 * each, each / 10) for each in (1e-3, 1e-2, 1e-1)]
    return Sensitivity(tensors, rungs, "a.txt", 4096)


def size(kinds: dict[str, str]) -> int:
    return 1000 + sum(GGMLType[kind].tensor_bytes(SHAPES[name]) for name, kind in kinds.items())


def test_bits_go_where_they_matter_most() -> None:
    losses = sensitivity({"blk.0.attn_v.weight": 1.0})
    everywhere = dict.fromkeys(SHAPES, "Q3_K")
    budget = size({**everywhere, "blk.0.attn_v.weight": "Q6_K"})
    mix = choose(losses, MixTarget(size=budget), FILE)
    assert mix.types["blk.0.attn_v.weight"] is GGMLType.Q6_K
    assert mix.choice.file_bytes == budget
    assert choose(losses, MixTarget(size=budget - 1), FILE).choice.file_bytes < budget


def test_bits_per_weight_are_of_all_tensors() -> None:
    target = MixTarget(bpw=5.0)
    mix = choose(sensitivity({}), target, FILE)
    weights = sum(a * b for a, b in SHAPES.values()) + 512
    tensors = sum(kind.tensor_bytes(SHAPES[name]) for name, kind in mix.types.items()) + 2048
    assert mix.choice.bits_per_weight == pytest.approx(8 * tensors / weights)
    assert mix.choice.bits_per_weight <= 5.0


def test_a_divergence_is_that_of_the_whole() -> None:
    losses = sensitivity({})
    mix = choose(losses, MixTarget(kld=0.03), FILE)
    assert mix.choice.kld + mix.choice.half <= 0.03  # the end of the interval keeps it
    alone = sum(losses.tensors[name].types[kind.name].kld for name, kind in mix.types.items())
    assert mix.choice.kld == pytest.approx(2 * alone)
    size = mix.choice.file_bytes
    with pytest.raises(RecipeError) as refused:  # nothing smaller keeps it
        choose(losses, MixTarget(kld=0.03, size=size - 1), FILE)
    assert f"{size:,} bytes" in str(refused.value)
    assert f"{size - 1:,}" in str(refused.value)
    assert "contradict" in str(refused.value)


def test_an_interval_that_straddles_the_bound_does_not_keep_it() -> None:
    losses = sensitivity({})
    kept = choose(losses, MixTarget(kld=0.0127), FILE).choice
    within = kept.kld + kept.half / 2  # its mean keeps this bound, and its interval does not
    assert choose(losses, MixTarget(kld=kept.upper), FILE).choice.forms == kept.forms
    other = choose(losses, MixTarget(kld=within), FILE).choice
    assert other.upper <= within
    assert other.file_bytes > kept.file_bytes


@pytest.mark.parametrize(
    "target",
    [
        *(
            {"size": 1000},
            {"size": 10**9},
            {"kld": 1e-9},
            {"kld": 9.0},
            {"bpw": 2.0},
            {"bpw": 16.5},
        ),
        *({"size": 1000, "bpw": 5.0}, {"size": 10**9, "bpw": 16.0}, {"size": 1000, "kld": 0.03}),
    ],
)
def test_outside_of_all_mixes_both_ends_are_named(target: dict[str, float]) -> None:
    with pytest.raises(RecipeError) as refused:
        choose(sensitivity({}), MixTarget.model_validate(target), FILE)
    for kind in ("Q3_K", "Q6_K"):
        assert f"{size(dict.fromkeys(SHAPES, kind)):,} bytes" in str(refused.value)


def test_a_pinned_tensor_keeps_its_type() -> None:
    pinned = {"token_embd.weight": GGMLType.Q8_0}
    file = FixedParts(overhead=1000, others={"norm": 2048}, other_weights=512, pinned=pinned)
    budget = size({**dict.fromkeys(SHAPES, "Q3_K"), "token_embd.weight": "Q8_0"})
    mix = choose(sensitivity({}), MixTarget(size=budget), file)
    assert mix.types["token_embd.weight"] is GGMLType.Q8_0
    assert mix.choice.file_bytes <= budget


def test_losses_come_back_as_they_were(tmp_path: Path) -> None:
    losses = sensitivity({"blk.0.attn_v.weight": 0.5})
    losses.save(tmp_path)
    assert Sensitivity.load(tmp_path) == losses
    lines = (tmp_path / "sensitivity.csv").read_text().splitlines()
    assert lines[0] == "tensor,layer,kind,type,bytes,error,kld,measured"
    assert lines[4] == "blk.0.attn_v.weight,0,attn_v,Q3_K,28160,0.016,8.0,True"
    assert place("token_embd.weight") == (None, "token_embd")


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ({}, "needs one of"),
        ({"size": "much"}, "this is no size"),
        ({"size": 0}, "greater than 0"),
        ({"bpw": -1.0}, "greater than 0"),
        ({"memory": "8GB"}, "tokens of context"),
        ({"memory": "8XB", "ctx": 4096}, "this is no size"),
        ({"memory": "8GB", "ctx": 0}, "greater than 0"),
        ({"ctx": 4096}, "needs one of.*ctx alone is none"),
        ({"size": "8GB", "ctx": 4096}, "ctx is of memory"),
        ({"size": "8GB", "kv": "q8_0"}, "kv is of memory"),
        ({"memory": "8GB", "ctx": 1, "runtime": "vlm"}, "llama.cpp"),
        ({"memory": "8GB", "ctx": 1, "runtime": "vllm", "device": "cpu"}, "on a GPU alone"),
        ({"sice": 1}, "Extra inputs"),
    ],
)
def test_what_is_no_target_is_refused(target: dict[str, object], words: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=words):
        MixTarget.model_validate(target)


def test_sizes_are_read_as_people_write_them() -> None:
    assert MixTarget.model_validate({"size": "3.5GB"}) == MixTarget(size=3_500_000_000)
    read = MixTarget.model_validate({"memory": "8GiB", "ctx": 1})
    assert (read.memory, MixTarget(memory=8 * 10**9, ctx=1).memory) == (8 << 30, 8_000_000_000)


def test_what_came_later_is_in_no_key_at_its_default() -> None:
    first = {"size": 5, "bpw": None, "kld": None, "memory": None, "ctx": None}
    assert MixTarget(size=5).model_dump() == first
    later = MixTarget(memory=5, ctx=1, kv="q8_0").model_dump()
    assert later == {**first, "size": None, "memory": 5, "ctx": 1, "kv": "q8_0"}
