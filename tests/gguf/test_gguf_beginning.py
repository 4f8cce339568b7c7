"""How much of a GGUF file is its header, from a beginning that may be cut anywhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from qpipe.errors import CheckpointError
from qpipe.gguf import reader


def test_a_beginning_is_whole_from_the_last_byte_of_the_header_on(
    gguf_of: Callable[[str, str], Path],
) -> None:
    path = gguf_of("stories260K", "Q8_0")
    data = path.read_bytes()
    first = min(tensor.offset for tensor in reader.read(path).tensors.values())
    assert reader.header_size(path, data) == first
    entries = first - reader.DEFAULT_ALIGNMENT
    cuts = [*range(24, 400), *range(400, entries, 997), *range(entries - 200, entries)]
    assert {reader.header_size(path, data[:cut]) for cut in cuts} == {None}
    assert reader.header_size(path, data[:first]) == first


def test_no_header_at_all() -> None:
    with pytest.raises(CheckpointError, match="instead of b'GGUF'"):
        reader.header_size(Path("m.gguf"), b"<html>" + bytes(100))
