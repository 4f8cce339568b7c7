"""What a file is, by its first bytes, for messages on one that is not what it should be."""

from __future__ import annotations

import re
from pathlib import Path

from qpipe.errors import QpipeError
from qpipe.support.files import open_file

REFERENCE_SUFFIX = ".reference.safetensors"
"""The end of a reference file's name, which tells it from weights."""

GGUF, REFERENCE_FILE = "a GGUF file by its content", "a reference file by its content"

_LOOKED_AT = 1 << 16
_KINDS = (
    (rb"GGUF", GGUF),
    (rb"version https://git-lfs", "a pointer of git LFS (`git lfs pull` fetches the file)"),
    (rb"PK\x03\x04", "a zip archive, or a pickle of torch's"),
    (rb"\x1f\x8b|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd", "compressed: unpack it"),
    (rb"\x80[\x02-\x05]", "a pickle"),
    (rb"%PDF", "a PDF"),
    (rb"\s*<(!DOCTYPE|html)", "a web page"),
    (rb"PAR1", "a Parquet file"),
    (rb".{7}\x00\{.*\"qpipe\.reference/", REFERENCE_FILE),
    (rb".{7}\x00\{", "safetensors by its content"),
    (rb"\s*[\[{]", "JSON"),
)


def kind_of(path: Path, error: type[QpipeError]) -> str:
    """Words on what the file ``path`` holds: "a text". Raises ``error`` where it cannot be read."""
    with open_file(path, error) as file:
        head = file.read(_LOOKED_AT)
    if not head:
        return "empty"
    for pattern, words in _KINDS:
        if re.match(pattern, head, re.DOTALL | re.IGNORECASE):
            return words
    return "a text" if _is_text(head) else "in no form that qpipe knows"


def _is_text(head: bytes) -> bool:
    # The last character may be cut.
    return b"\0" not in head and "\ufffd" not in head[:-4].decode("utf-8", "replace")[:-1]
