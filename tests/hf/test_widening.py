"""What a quantizer leaves in half precision is computed in float32 beside the rest."""

from __future__ import annotations

import pytest

from qpipe.hf.precision import widen

torch = pytest.importorskip("torch")


def test_plain_weights_are_widened_and_packed_ones_are_not() -> None:
    """As GPT-NeoX's output matrix, beside matrices in a kernel's own precision."""

    class Packed(torch.nn.Linear):  # type: ignore[misc,name-defined]
        pass

    model = torch.nn.Sequential(
        torch.nn.Embedding(4, 8, dtype=torch.bfloat16),
        torch.nn.Linear(8, 8, dtype=torch.float16),
        Packed(8, 8, dtype=torch.float16),
        torch.nn.Linear(8, 4),
    )
    model[3].weight = torch.nn.Parameter(torch.ones(4, 8, dtype=torch.int8), requires_grad=False)
    widen(model)
    found = {name: str(p.dtype).removeprefix("torch.") for name, p in model.named_parameters()}
    assert found == {
        "0.weight": "float32", "1.weight": "float32", "1.bias": "float32",
        "2.weight": "float16", "2.bias": "float16", "3.weight": "int8", "3.bias": "float32",
    }  # fmt: skip
