"""Sources that are quantized already: refused by one sentence where it would be done again."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from qpipe.errors import CheckpointError
from qpipe.hf.quantized import CONFIG, Settings, settings


def said(folder: Path) -> Settings | None:
    """Quantization settings of the checkpoint in ``folder``; None if it is not quantized.

    None too if the folder holds no checkpoint. Raises CheckpointError for a config.json that cannot
    be read.
    """
    from qpipe.gguf.config import Config

    if not (folder / CONFIG).is_file():
        return None
    return settings(folder, Config.read(folder).fields)


def refuse(folder: Path, *, but: Collection[str] = ()) -> None:
    """Raise CheckpointError if the checkpoint in ``folder`` is quantized already, by another method
    than those of ``but``."""
    found = said(folder)
    if found is not None and found.method not in but:
        raise CheckpointError(found.refusal)
