"""Entries of a safetensors file's ``__metadata__`` in one order, so that the same content has the
same bytes.

safetensors (0.8.0) writes them in an order of their own each time: findings/, safetensors-metadata-
order.sh. torchao's checkpoints have an entry for each quantized matrix.
"""

from __future__ import annotations

import json
from pathlib import Path

_MOST = 100_000_000
"""Bytes of the longest header that safetensors reads."""


def sort(file: Path) -> None:
    """Sort them in place, by name; no other byte of ``file`` changes."""
    with file.open("r+b") as stored:
        length = int.from_bytes(stored.read(8), "little")
        if length > _MOST:
            return
        text = stored.read(length)
        header = json.loads(text)
        entries = header.get("__metadata__") or {}
        if list(entries) == sorted(entries):
            return
        header["__metadata__"] = dict(sorted(entries.items()))
        compact = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        if len(compact) <= length:  # as long, where the header is written as safetensors writes it
            stored.seek(8)
            stored.write(compact.ljust(length))
