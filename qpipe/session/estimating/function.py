"""`qpipe.estimate`: the use case behind `qpipe estimate`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qpipe.session.estimating.estimate import ModelEstimate


def estimate(
    model: str | Path,
    types: Sequence[str] = (),
    *,
    ctx: int | str | None = None,
    batch: int | str = 1,
    kv: str | None = None,
    kv_k: str | None = None,
    kv_v: str | None = None,
    runtime: str = "llama.cpp",
    gpu: str | Sequence[str] = (),
    ram: str | None = None,
    flash_attention: bool = True,
) -> ModelEstimate:
    """Return what files, memory and speed ``model`` takes in ``types``, by default in some twenty
    formats: a config.json, a folder, a GGUF file, a model whose shapes come with qpipe, or a
    repository on the hub, of which at most config.json, the tokenizer and headers are fetched.

    ``ctx`` are tokens of context of each of ``batch`` sequences, ``kv`` the type of their cache,
    ``gpu`` cards by name or memory; without them, and without ``ram``, this machine's.

    Raises UsageError and RecipeError for what is asked, SourceError for a repository that cannot be
    had, CheckpointError for a model that is not known.
    """
    from qpipe.runtimes.contexts import count
    from qpipe.session.estimating import estimate as estimating
    from qpipe.session.estimating.conditions import of_options

    asked = of_options(
        runtime,
        [gpu] if isinstance(gpu, str) else gpu,
        ram,
        context=None if ctx is None else count(ctx, "--ctx"),
        sequences=count(batch, "--batch"),
        kv_k=kv_k or kv,
        kv_v=kv_v or kv,
        flash_attention=flash_attention,
    )
    return estimating.estimate(str(model), types, asked)
