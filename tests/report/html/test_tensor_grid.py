from __future__ import annotations

from qpipe.report.html.tensor_grid import tensor_grid
from qpipe.results.tensors import TensorDetail


def test_kinds_and_layers() -> None:
    details = [
        TensorDetail("token_embd.weight", "Q6_K", (100, 64), 0.02),
        TensorDetail("blk.0.attn_norm.weight", "F32", (64,)),
        TensorDetail("blk.10.ffn_up.weight", "Q4_K", (128, 64), 0.07),
        TensorDetail("blk.2.ffn_up.weight", "Q5_K", (256, 64), 0.03),
        TensorDetail("blk.2.ssm_in.weight", "F16", (64, 64)),
    ]
    grid = tensor_grid(details)
    assert grid is not None
    assert grid["types"] == ["Q6_K", "Q4_K", "Q5_K", "F16"]
    assert grid["layers"] == [None, 2, 10]
    assert [[*kind.values()] for kind in grid["kinds"]] == [
        ["token_embd", "100 × 64", [0, None, None], [0.02, None, None]],
        ["ffn_up", None, [None, 2, 1], [None, 0.03, 0.07]],
        ["ssm_in", "64 × 64", [None, 3, None], [None, None, None]],
    ]


def test_what_is_not_known() -> None:
    assert tensor_grid(()) is None
    assert tensor_grid([TensorDetail("blk.0.attn_norm.weight", "F32", (64,))]) is None
