"""Whether a GGUF model is of the type that its name claims: publishers rename files, and some lie.

A type counts by its tensors; where none can have it, for their rows do not fit its blocks, by the
header's word (``general.file_type``).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from qpipe.sources.gguf_types import is_model, type_of

_BLOCK = 256


def difference(file: Path) -> str | None:
    """A note on a model whose name says another type than its header and tensors, the first of its
    parts being ``file``; None where they agree, or nothing is claimed. Raises CheckpointError."""
    claim = re.sub(r"^UD-|_R[48]$", "", type_of(file.name) or "")
    if not claim:
        return None
    from qpipe.gguf import ftypes, split
    from qpipe.gguf.types import FLOATS

    known = ftypes.FILE_TYPES.get(claim)
    if known is None:  # of another tool, or a publisher's own mixture
        return None
    model = split.read(file, any_type=True)
    tensors = [tensor for tensor in model.tensors.values() if len(tensor.shape) > 1]
    types = Counter(tensor.type.name for tensor in tensors)
    said = model.file_type if "general.file_type" in model.metadata else None
    small = all(t.shape[-1] % _BLOCK for t in tensors if t.type not in FLOATS)
    there = known.default.name in types or (small and said == claim)
    if there and (said is None or said not in ftypes.FILE_TYPES or said == claim):
        return None
    header = "" if said is None else f", its header {said}"
    return (
        f"{file.name}: its name says {claim}{header}, and its matrices are {_counted(types)}; it "
        "is taken as it is"
    )


def _counted(types: Counter[str]) -> str:
    return " and ".join(f"{name} ({count})" for name, count in types.most_common(3))


def notes(files: Iterable[Path]) -> list[str]:
    """The note on the model among ``files``, if there is one; a file that cannot be read the next
    stage refuses."""
    from qpipe.errors import CheckpointError

    first = next((file for file in sorted(files) if is_model(file.name)), None)
    try:
        note = None if first is None else difference(first)
    except CheckpointError:
        return []
    return [] if note is None else [note]
