"""The older format of importance matrices (.dat): numbers in a row, little endian, no header.

int32 n; n times: int32 length, name, int32 calls, int32 count, count float32 sums (per call);
then, in newer files, int32 chunks, int32 length, name of the calibration text.
Source: tools/imatrix/imatrix.cpp, save_imatrix_legacy; common/imatrix-loader.cpp,
common_imatrix_load_legacy.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt

from qpipe import errors
from qpipe.support.files import read_file

Entries = dict[str, tuple[int, npt.NDArray[np.float32]]]
"""{tensor: (calls, sums)}"""

_MOST_ENTRIES = 1 << 20
_LARGEST = 1 << 32
"""Bytes: a gigabyte is what a model of hundreds of experts needs."""


def read(path: Path) -> tuple[Entries, int, str]:
    """(entries, chunks, calibration text) of the file; 0 and "" where it does not tell.

    Raises `DataError` for a file that is cut short or holds something else.
    """
    parser = _Parser(path, read_file(path, errors.DataError, most=_LARGEST))
    n_entries = parser.integer()
    if not 1 <= n_entries <= _MOST_ENTRIES:
        raise parser.broken(f"it starts with {n_entries} as the number of its tensors")
    entries: Entries = {}
    for _ in range(n_entries):
        name = parser.text()
        calls = parser.integer()
        entries[name] = calls, parser.floats(parser.integer(), name)
    if parser.ended:
        return entries, 0, ""
    chunks = parser.integer()
    return entries, chunks, "" if parser.ended else parser.text()


class _Parser:
    def __init__(self, path: Path, data: bytes) -> None:
        self.path = path
        self.data = data
        self.at = 0

    @property
    def ended(self) -> bool:
        return self.at == len(self.data)

    def broken(self, what: str) -> errors.DataError:
        return errors.DataError(
            f"{self.path}: no importance matrix, neither GGUF nor .dat: {what}; "
            "give a file that llama-imatrix wrote"
        )

    def integer(self) -> int:
        return int(struct.unpack("<i", self._take(4))[0])

    def text(self) -> str:
        raw = self._take(self.integer())
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise self.broken(f"a name is no UTF-8: {raw[:32]!r}") from None

    def floats(self, count: int, name: str) -> npt.NDArray[np.float32]:
        if count < 1:
            raise self.broken(f"tensor {errors.quoted(name)} has {count} values")
        return np.frombuffer(self._take(4 * count), "<f4").astype(np.float32)

    def _take(self, size: int) -> bytes:
        end = self.at + size
        if size < 0 or end > len(self.data):
            raise self.broken(f"it ends after {len(self.data)} bytes, amid byte {self.at}'s item")
        taken, self.at = self.data[self.at : end], end
        return taken
