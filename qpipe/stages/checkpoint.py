"""What engines that write checkpoint folders have in common: calibration tokens, the files that
go along, and what the finished folder is."""

from __future__ import annotations

import json
from pathlib import Path

from qpipe.core.key import Json
from qpipe.core.layout import MANIFEST
from qpipe.core.link import link
from qpipe.stages.base import Order

CALIBRATION_FILE = "calibration.json"

# Files beside the weights that a tool may have rewritten, left out or mangled: the source's own
# are what users had, and what runtimes read.
_ALONG = (
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt", "chat_template.jinja",
    "chat_template.json", "generation_config.json", "preprocessor_config.json",
    "processor_config.json",
)  # fmt: skip


def files(folder: Path) -> list[Path]:
    """The files of an artifact, in order, but for its manifest."""
    return sorted(p for p in folder.iterdir() if p.is_file() and p.name != MANIFEST)


def bring_along(source: Path, out: Path) -> None:
    """Link the source's tokenizer and generation files into ``out``, in place of a tool's own."""
    for path in files(source):
        if path.name in _ALONG or path.name.startswith("LICENSE"):
            (out / path.name).unlink(missing_ok=True)
            link(path, out / path.name)


def calibration(order: Order) -> list[list[int]]:
    """The token ids of each sample in role ``calibration``."""
    found = json.loads((order.inputs["calibration"] / CALIBRATION_FILE).read_bytes())
    samples: list[list[int]] = found["samples"]
    return samples


def facts(folder: Path, *, source: Path | None = None) -> dict[str, Json]:
    """What reports say of a checkpoint, read from its headers (`quantize.model_facts`).

    Also the check of its structure: raises CheckpointError for a tensor that is missing, of a
    wrong type or of a wrong shape, by its own config.json and by the checkpoint ``source`` that it
    was made of.
    """
    from qpipe.packed import structure
    from qpipe.stages.quantize import model_facts

    found = structure.read(folder)
    if source is not None:
        structure.compare(found, source)
    return model_facts(**found.facts)
