"""The arithmetic of what is mended in GPTQModel, on numbers computed by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from qpipe.engines._gptqmodel_mends import _groups, _with_zero, rename_output
from qpipe.gguf.checkpoint import read_tensors
from qpipe.gguf.weight_files import INDEX
from qpipe.packed.write import stored, write
from tests.packed.checkpoints import checkpoint, entry


def test_groups_of_one_sign_keep_their_differences() -> None:
    import torch

    weights = torch.tensor([[0.5, 0.75, 1.0, 0.6], [-0.5, -0.75, -1.0, -0.6]])
    values, scales, zeros = _with_zero(weights, 4)
    assert zeros.flatten().tolist() == [0, 15]
    assert scales.flatten().tolist() == pytest.approx([1 / 15, 1 / 15])
    assert (values - weights).abs().max() <= 1 / 30 + 1e-6


def test_other_groups_are_as_they_were() -> None:
    """GPTQModel 7.6.0's own arithmetic (looper/awq_processor.py, pseudo_quantize_tensor)."""
    import torch

    torch.manual_seed(0)
    for kind in (torch.float32, torch.bfloat16):
        weights = _groups(torch.randn(8, 64).to(kind), 16)
        high, low = weights.amax(dim=1, keepdim=True), weights.amin(dim=1, keepdim=True)
        assert bool((low < 0).all() and (high > 0).all())
        scales = (high - low).clamp(min=1e-5) / 255
        zeros = (-torch.round(low / scales)).clamp_(0, 255)
        values = (torch.clamp(torch.round(weights / scales) + zeros, 0, 255) - zeros) * scales
        found = _with_zero(weights, 8)
        for mine, theirs in zip(found, (values, scales, zeros), strict=True):
            assert torch.equal(mine, theirs)


def test_one_group_a_row() -> None:
    import torch

    assert _groups(torch.zeros(4, 1, 6), -1).shape == (4, 6)
    assert _groups(torch.zeros(4, 1, 3, 2), 2).shape == (12, 2)


def test_the_output_matrix_gets_its_own_name_back(tmp_path: Path) -> None:
    """In a checkpoint of several files, of which only the one that holds it is written anew."""
    head, other = np.arange(6, dtype=np.float16).reshape(2, 3), np.zeros(3, np.float16)
    source = tmp_path / "source"
    checkpoint(source, {"embed_out.weight": head, "gpt_neox.norm.weight": other})
    out = tmp_path / "out"
    out.mkdir()
    files = {"gpt_neox.norm.weight": "model-00001-of-00002.safetensors"}
    files["lm_head.weight"] = files["lm_head.bias"] = "model-00002-of-00002.safetensors"
    write(out / files["gpt_neox.norm.weight"], [entry("gpt_neox.norm.weight", other)])
    parts = [entry("lm_head.bias", other), entry("lm_head.weight", head)]
    write(out / files["lm_head.weight"], parts)
    (out / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": files}))
    rename_output(out, source)
    found = read_tensors(out)
    assert sorted(found) == ["embed_out.weight", "gpt_neox.norm.weight", "lm_head.bias"]
    assert b"".join(stored(found["embed_out.weight"])) == head.tobytes()
    assert {path.name for path in out.iterdir()} == {INDEX, *files.values()}
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    rename_output(out, source)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
