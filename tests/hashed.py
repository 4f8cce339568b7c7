"""Counting of the bytes that are hashed, by file."""

from __future__ import annotations

import hashlib
from collections import Counter

import pytest

from qpipe.support import hashing


class _Counted:
    """A SHA-256 that counts what it is shown."""

    def __init__(self, name: str, bytes_by_file: Counter[str]) -> None:
        self._name, self._bytes, self._hash = name, bytes_by_file, hashlib.sha256()

    def update(self, data: hashing.Buffer) -> None:
        self._bytes[self._name] += len(data)
        self._hash.update(data)

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Bytes of files that are hashed from now on in this process, by the path of each."""
    bytes_by_file: Counter[str] = Counter()
    monkeypatch.setattr(hashing, "begin", lambda name: _Counted(name, bytes_by_file))
    return bytes_by_file
