"""Memory as a target: the largest mix that keeps it, by what `qpipe estimate` would say of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qpipe.errors import RecipeError
from qpipe.gguf.types import GGMLType
from qpipe.memory import Geometry, RunSetting, Weights, geometry
from qpipe.memory.estimate import of_geometry
from qpipe.mix.choosing import FixedParts, choose
from qpipe.mix.running import Running
from qpipe.mix.sensitivity import InType, Rung, Sensitivity, TensorLosses
from qpipe.mix.target import MixTarget
from qpipe.runtimes.overheads import known_bytes
from qpipe.sources.pinning import DATA
from tests.cli import called

CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 512,
    "intermediate_size": 1024, "num_hidden_layers": 4, "num_attention_heads": 8,
    "num_key_value_heads": 2, "vocab_size": 2048, "max_position_embeddings": 65536,
    "rms_norm_eps": 1e-5, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip
RECIPE = ("local", "model.source=builtin:tinystories-d256")
KINDS = ("Q3_K", "Q4_K", "Q6_K", "Q8_0")


def shapes() -> dict[str, tuple[int, int]]:
    layers = {
        f"blk.{layer}.{name}.weight": shape
        for layer in range(4)
        for name, shape in (("attn_q", (512, 512)), ("ffn_up", (1024, 512)))
    }
    return {"token_embd.weight": (2048, 512), "output.weight": (2048, 512), **layers}


def sensitivity() -> Sensitivity:
    tensors = {}
    for number, (name, shape) in enumerate(shapes().items()):
        losses = {
            kind: InType(GGMLType[kind].tensor_bytes(shape), 0.1, (number + 1) * 4.0**-at, True)
            for at, kind in enumerate(KINDS)
        }
        tensors[name] = TensorLosses(shape, losses)
    return Sensitivity(tensors, [Rung(4.0, 1.0, 1.0, 0.1)], "a.txt", 4096)


def file(model: Geometry) -> FixedParts:
    return FixedParts(1000, {"output_norm.weight": 2048}, 512, {}, lambda: model)


@pytest.fixture(scope="module")
def model() -> Geometry:
    return geometry(CONFIG)


def taken(types: dict[str, GGMLType], setting: RunSetting, model: Geometry, device: str) -> int:
    """What the room `memory` says of such a file, without this room's own sums."""
    sizes = {name: kind.tensor_bytes(shapes()[name]) for name, kind in types.items()}
    weights = Weights.of_tensors({**sizes, "output_norm.weight": 2048})
    parts = of_geometry(model, setting, weights).devices[device]
    return parts.total + known_bytes(setting.runtime, device)


@pytest.mark.parametrize(
    ("more", "setting"),
    [
        ({}, RunSetting(context=8192)),
        ({"kv": "q8_0"}, RunSetting(context=8192, kv_k="q8_0", kv_v="q8_0")),
        ({"batch": 2}, RunSetting(context=8192, sequences=2)),
        ({"device": "gpu"}, RunSetting(context=8192, layers_offloaded=-1)),
    ],
)
def test_the_largest_that_keeps_it(
    model: Geometry, more: dict[str, Any], setting: RunSetting
) -> None:
    device = more.get("device", "cpu")
    ends = [
        taken(dict.fromkeys(shapes(), GGMLType[kind]), setting, model, device)
        for kind in ("Q3_K", "Q8_0")
    ]
    allowed = sum(ends) // 2
    target = MixTarget(memory=allowed, ctx=8192, **more)
    mix = choose(sensitivity(), target, file(model))
    assert mix.choice.memory is not None
    own = taken(dict(mix.types), setting, model, device)
    assert own == mix.choice.memory.total <= allowed
    # No tensor that is on the device could have the next larger type.
    for name, kind in mix.types.items():
        larger = [GGMLType[each] for each in KINDS[KINDS.index(kind.name) + 1 :]]
        if larger and not (device == "gpu" and name == "token_embd.weight"):
            assert taken({**mix.types, name: larger[0]}, setting, model, device) > allowed
    if device == "gpu":  # where llama.cpp leaves the table on the host
        assert mix.types["token_embd.weight"] is GGMLType.Q8_0
    note = mix.note(target)
    assert f"{own:,} bytes" in note
    assert "with 8,192 tokens, forecast" in note


@pytest.mark.parametrize("memory", [60_000_000, 10**9])
def test_outside_both_ends_are_named_with_their_memory(model: Geometry, memory: int) -> None:
    ends = [
        taken(dict.fromkeys(shapes(), GGMLType[kind]), RunSetting(context=512), model, "cpu")
        for kind in ("Q3_K", "Q8_0")
    ]
    memory = ends[0] - 1 if memory < 10**9 else memory
    with pytest.raises(RecipeError) as refused:
        choose(sensitivity(), MixTarget(memory=memory, ctx=512), file(model))
    for end in ends:
        assert f"{end:,} bytes of memory" in str(refused.value)
    assert f"{memory:,} bytes of memory at 512 tokens" in str(refused.value)


def test_a_context_that_leaves_nothing_is_refused(model: Geometry) -> None:
    target = MixTarget(memory=10_000_000, ctx=65536)
    with pytest.raises(RecipeError, match=r"65,536 tokens of context take .*less context.*q8_0"):
        choose(sensitivity(), target, file(model))


def test_a_cache_that_the_runtime_has_not(model: Geometry) -> None:
    with pytest.raises(RecipeError, match=r"no cache of type 'fp8'.*kv_k"):
        choose(sensitivity(), MixTarget(memory=10**8, ctx=512, kv="fp8"), file(model))


def test_bounds_together(model: Geometry) -> None:
    memory = taken(dict.fromkeys(shapes(), GGMLType.Q4_K), RunSetting(context=512), model, "cpu")
    alone = choose(sensitivity(), MixTarget(memory=memory, ctx=512), file(model)).choice
    size = alone.file_bytes - 50_000
    both = choose(sensitivity(), MixTarget(memory=memory, ctx=512, size=size), file(model)).choice
    assert both.file_bytes <= size < alone.file_bytes
    assert both.memory is not None
    assert both.memory.total <= memory
    loose = choose(sensitivity(), MixTarget(memory=memory, ctx=512, size=10**9), file(model)).choice
    assert loose.forms == alone.forms


def test_a_card_of_vllm_is_not_all_its_own(model: Geometry) -> None:
    target = MixTarget(memory=10**10, ctx=512)
    running = Running.of(model, target, runtime="vllm")
    assert (running.device, running.most) == ("gpu", 9 * 10**9)
    assert replace(running.setting, gpu_memory=None) == running.setting


def test_a_target_that_no_types_keep_is_refused_before_anything_is_measured(
    tmp_path: Path,
) -> None:
    path = DATA / "tinystories-d256" / "config.json"
    around = Running.of(geometry(path), MixTarget(memory=1, ctx=256), runtime="llama.cpp").around
    memory = f"{{memory: {around.total + 300_000}, ctx: 256}}"  # of weights there are more
    for target in ("{size: 100kB}", "{bpw: 1.1}", memory):
        answer = called("plan", *RECIPE, f"quantize.target={target}", cwd=tmp_path)
        said = " ".join((answer.stdout + answer.stderr).split())
        assert "no types keep it: in the smallest that there are its tensors take" in said, target
