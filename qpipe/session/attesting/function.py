"""`qpipe.attest`: published GGUF files beside what their source makes of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from qpipe.core.layout import DEFAULT_STORE
from qpipe.errors import UsageError
from qpipe.machine.capacity import usable_cores

if TYPE_CHECKING:
    from qpipe.session.attesting.attestation import Attestation

Progress = Callable[[int, int, str], None]
"""Takes how much is done, of how much, and of what: bytes fetched, or compared."""


def attest(
    *files: str | Path,
    source: str | Path,
    imatrix: str | Path | None = None,
    store: str | Path | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Attestation:
    """Say tensor by tensor whether GGUF files are what their source gives in the types that they
    have; all of them are compared in one pass over it, and nothing is written.

    ``files`` are paths, folders of GGUF files, or ``OWNER/NAME@COMMIT/FILE.gguf``; parts of a model
    are one. ``source`` is a checkpoint or a GGUF file in F32, F16 or BF16, as ``model.source``
    takes it. ``imatrix`` is the importance matrix that
    they were made with; by default each file's own, by the name that it notes. The digests of files
    are remembered in the ``store``.

    Raises SourceError and CheckpointError for a source that cannot be had or converted, DataError
    for an unusable ``imatrix``, and CheckpointError where no file can be read: of several, the
    others are compared without it.
    """
    if not files:
        raise UsageError("attest: name a GGUF file, or several")
    from qpipe.session.attesting.comparing import compared

    return compared(
        [str(file) for file in files],
        str(source),
        None if imatrix is None else str(imatrix),
        Path(store or os.environ.get("QPIPE_STORE") or DEFAULT_STORE),
        threads or usable_cores(),
        progress or _tell_nobody,
    )


def _tell_nobody(done: int, total: int, unit: str) -> None:
    return
