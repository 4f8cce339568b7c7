"""Overrides that no stage of any job reads: they have no effect, which somebody should be told."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from qpipe.recipe.request import Job

# Blocks of the base that stages read which a recipe may do without.
_BLOCKS = ("calibration",)


def notes(jobs: Sequence[Job], stages: Sequence[Collection[str]]) -> list[str]:
    """A sentence for each override of a block that none of a command's jobs reads.

    ``stages`` are the names of those of each valid job: what a sweep's other jobs read is read.
    """
    kept = {name for names in stages for name in names}
    idle = [block for block in _BLOCKS if not any(_reads(job.aliases, block, kept) for job in jobs)]
    texts = dict.fromkeys(text for job in jobs for text in job.overrides)
    return [
        f"the override {text!r} has no effect: nothing here reads {block}"
        for text in texts
        for block in idle
        if text.lstrip("+").partition("=")[0].partition(".")[0] == block
    ]


def _reads(aliases: Mapping[str, str], block: str, kept: Collection[str]) -> bool:
    """True if a stage that is kept takes anything from the block."""
    return any(
        target.split(".")[0] == block and field.split(".")[1] in kept
        for field, target in aliases.items()
        if field.startswith("stages.")
    )
