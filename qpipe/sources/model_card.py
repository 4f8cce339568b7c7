"""What is read of a model card: the metadata in front of README.md, and none of its prose.

The rest is left out of what a checkpoint is pinned by, so that prose may change. Ends of lines and
of the metadata are found as gguf's Metadata.load_model_card (0.19.0) finds them.
"""

from __future__ import annotations

from pathlib import Path

from qpipe.errors import SourceError
from qpipe.support.files import open_file

CARD = "README.md"

_MARK = "---"
# Bytes of a card that are looked at: the largest on the hub have some 100 kB of metadata.
_MOST = 1 << 20


def head(path: Path) -> bytes | None:
    """The metadata of the card ``path`` between its marks, None if it has none.

    Raises SourceError for a card that cannot be read, or whose metadata has no end.
    """
    with open_file(path, SourceError) as file:
        data = file.read(_MOST + 1)
    lines = data.decode("utf-8", "surrogateescape").splitlines()
    if not lines or lines[0] != _MARK:
        return None
    try:
        end = lines.index(_MARK, 1)
    except ValueError:
        if len(data) > _MOST:
            raise SourceError(
                f"{path}: the metadata in front of this model card has no end ({_MARK}) within "
                f"{_MOST} bytes; correct or remove the file"
            ) from None
        end = len(lines)
    return "\n".join([*lines[:end], _MARK, ""]).encode("utf-8", "surrogateescape")
