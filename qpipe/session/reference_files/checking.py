"""Every byte of a reference file, read where it lies."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from qpipe.errors import DataError
from qpipe.evaluators.reference_files import header, reading, values
from qpipe.evaluators.reference_files.reading import Progress
from qpipe.machine.capacity import usable_cores


class CheckedReference(NamedTuple):
    """A reference file that was read, its bytes, and what is wrong with it; None: nothing."""

    file: Path
    size: int
    problem: str | None


def check(file: Path, *, progress: Progress = lambda done, total: None) -> CheckedReference:
    """Read every byte, as `import` does, and put nothing into a store."""
    size = file.stat().st_size
    try:
        head = header.read(file)
        reading.check(head, threads=usable_cores(), progress=progress)
        values.check(head)
    except DataError as error:
        return CheckedReference(file, size, str(error))
    return CheckedReference(file, size, None)
