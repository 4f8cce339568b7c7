"""Overrides that no stage of any job reads: they would have no effect, and nobody would be told."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from qpipe.errors import RecipeError
from qpipe.recipe.request import Job

# Blocks of the base that stages read which a recipe may do without.
_BLOCKS = ("calibration",)


def refuse(jobs: Sequence[Job], stages: Sequence[Collection[str]]) -> None:
    """Raise RecipeError for an override of a block that none of a command's jobs reads.

    ``stages`` are the names of those of each valid job: what a sweep's other jobs read is read.
    """
    kept = {name for names in stages for name in names}
    for job in jobs:
        for text in job.overrides:
            block = text.lstrip("+").partition("=")[0].partition(".")[0]
            if block in _BLOCKS and not any(_reads(other.aliases, block, kept) for other in jobs):
                raise RecipeError(
                    f"the override {text!r}: nothing in this recipe reads {block}, so it would "
                    "have no effect; quantize=gptq or imatrix=calibrated, say, are calibrated"
                )


def _reads(aliases: Mapping[str, str], block: str, kept: Collection[str]) -> bool:
    """Whether a stage that is kept takes anything from the block."""
    return any(
        target.split(".")[0] == block and field.split(".")[1] in kept
        for field, target in aliases.items()
        if field.startswith("stages.")
    )
