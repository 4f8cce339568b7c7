"""The files of a checkpoint that go along with its matrices."""

from __future__ import annotations

from pathlib import Path

from qpipe.core.layout import MANIFEST
from qpipe.machine.filesystem import link
from qpipe.packed.matrices import OUTPUT as OUTPUT
from qpipe.packed.matrices import quantizable as quantizable

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
