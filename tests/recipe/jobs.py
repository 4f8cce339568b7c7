"""Composed jobs made by hand, for tests of what comes after Hydra."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qpipe.recipe.origins import Origins
from qpipe.recipe.request import Job

MODEL = "builtin:tinystories-d256"
TEXT = "builtin:texts/tinystories_lower_heldout.txt"


def job(
    config: Mapping[str, Any],
    *,
    label: str = "",
    aliases: Mapping[str, str] | None = None,
    used: frozenset[str] = frozenset(),
    overrides: tuple[str, ...] = (),
) -> Job:
    return Job(
        number=0,
        varying={"type": label} if label else {},
        overrides=overrides,
        config=config,
        aliases=aliases or {},
        used=used,
        origins=Origins("recipe.yaml", (), overrides),
        witnesses=None,
    )


def pipeline(**quantize: Any) -> dict[str, Any]:
    """A whole recipe: download, convert, quantize, and perplexity of the result and reference."""
    measure = {"metric": "perplexity", "text": TEXT, "n_ctx": 256, "chunks": 4}
    return {
        "name": "test",
        "model": {"source": MODEL},
        "stages": {
            "download": {"uses": "download", "with": {"source": MODEL}},
            "convert": {
                "uses": "convert",
                "needs": {"checkpoint": "download"},
                "with": {"outtype": "f16", "name": MODEL},
            },
            "quantize": {
                "uses": "quantize",
                "needs": {"model": "convert"},
                "with": {"method": "gguf", "type": "Q8_0", **quantize},
            },
            "perplexity": {"uses": "evaluate", "needs": {"model": "quantize"}, "with": measure},
            "reference": {"uses": "evaluate", "needs": {"model": "convert"}, "with": dict(measure)},
        },
        "run": {"reference": "convert"},
    }
