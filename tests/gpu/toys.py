"""A stage that computes on a GPU."""

from __future__ import annotations

from collections.abc import Mapping

from qpipe.core.key import Json
from qpipe.stages.base import Work
from tests.toys import Write, WriteParams


class OnTheCard(Write):
    """Adds four numbers there."""

    kind = "on_the_card"

    def run(self, params: WriteParams, work: Work) -> Mapping[str, Json]:
        import torch

        (work.out / "out.txt").write_text(params.text)
        numbers = torch.arange(5, device="cuda", dtype=torch.float32)
        return {"sum": float(numbers.sum()), "cards": torch.cuda.device_count()}
