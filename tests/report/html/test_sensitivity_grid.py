from __future__ import annotations

from qpipe.report.html.sensitivity_grid import sensitivity_grid
from qpipe.results.losses import TensorLoss, from_fact, to_fact

LOSSES = [
    TensorLoss("token_embd.weight", {"Q2_K": 0.01, "Q4_K": 0.001}),
    TensorLoss("blk.10.ffn_up.weight", {"Q2_K": 0.5, "Q4_K": 0.02}),
    TensorLoss("blk.2.ffn_up.weight", {"Q2_K": 0.25, "Q4_K": 0.01}),
    TensorLoss("blk.2.odd.weight", {"Q5_1": 3e-7}),
]


def test_kinds_and_layers() -> None:
    grid = sensitivity_grid("sensitivity", LOSSES)
    assert grid is not None
    assert (grid["types"], grid["first"]) == (["Q2_K", "Q4_K"], 1)
    assert grid["layers"] == [None, 2, 10]
    assert {kind["name"]: kind["losses"][0] for kind in grid["kinds"]} == {
        "token_embd": [0.01, None, None],
        "ffn_up": [None, 0.25, 0.5],
        "odd": [None, None, None],
    }


def test_modules_of_a_checkpoint_have_layers_too() -> None:
    losses = {"2bit-g64": 0.9, "4bit-g128": 0.1}
    grid = sensitivity_grid("x", [TensorLoss("model.layers.3.self_attn.qkv_proj", losses)])
    assert grid is not None
    assert grid["first"] == 1
    assert (grid["layers"], grid["kinds"][0]["name"]) == ([3], "self_attn.qkv_proj")


def test_facts_come_back_as_they_were() -> None:
    assert from_fact(to_fact(LOSSES)) == tuple(LOSSES)
    assert from_fact(None) == ()
    assert from_fact({"a": 3, "b": "Q4_K much"}) == (TensorLoss("a", {}), TensorLoss("b", {}))


def test_what_is_not_known() -> None:
    assert sensitivity_grid("x", ()) is None
    assert sensitivity_grid("x", [TensorLoss("a", {"F16": 0.0})]) is None
