"""The only place where an id, a key or a content digest is computed.

Invariant: equal inputs give equal digests on every machine and Python version, different inputs
give different ones. Values are encoded with a type tag and a length or terminator, so that no
two structures share an encoding (``1``, ``1.0``, ``True`` and ``"1"`` are four values, as are
``0.0`` and ``-0.0``), and each kind of digest starts with a domain of its own. Golden digests are
pinned in tests/core/test_key.py: a change here makes every artifact of every user a miss.

Runtime settings (executor, threads, paths, log level) cannot get in: no function here takes them.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from qpipe.support import hashing

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"


def encode(value: Json) -> bytes:
    """The canonical bytes of a JSON-like value.

    Raises TypeError for anything else, ValueError for NaN and infinities (they equal nothing).
    """
    out: list[bytes] = []
    _encode(value, out)
    return b"".join(out)


def _encode(value: Json, out: list[bytes]) -> None:
    # In the order of how often each comes; bool before int: True is an int to Python.
    if isinstance(value, str):
        data = value.encode("utf-8", "surrogatepass")
        out.append(b"s%d:%b" % (len(data), data))
    elif value is None:
        out.append(b"n")
    elif isinstance(value, bool):
        out.append(b"t" if value else b"f")
    elif isinstance(value, int):
        # Hexadecimal: Python limits the length of a decimal number, and differently by version.
        out.append(b"i%x;" % value)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} cannot be part of a key: only finite numbers can")
        out.append(b"d" + value.hex().encode() + b"e")
    elif isinstance(value, (list, tuple)):
        out.append(b"l")
        for item in value:
            _encode(item, out)
        out.append(b"e")
    elif isinstance(value, (dict, Mapping)):  # dict alone is quick to see
        out.append(b"m")
        for name in sorted(value):
            if not isinstance(name, str):
                raise TypeError(f"a mapping in a key needs string names, not {name!r}")
            _encode(name, out)
            _encode(value[name], out)
        out.append(b"e")
    else:
        raise TypeError(f"{type(value).__name__} cannot be part of a key: {value!r}")


def _digest(domain: str, value: Json) -> str:
    return hashlib.sha256(domain.encode() + b"\0" + encode(value)).hexdigest()


def node_id(
    *,
    stage: str,
    version: int,
    params: Mapping[str, Json],
    engine: Mapping[str, Json],
    inputs: Mapping[str, str],
) -> str:
    """The Merkle hash of configuration alone; ``inputs`` maps role to the id of the input node."""
    return _digest("qpipe.node-id.1", [stage, version, params, engine, inputs])


def artifact_key(
    *,
    stage: str,
    version: int,
    params: Mapping[str, Json],
    engine: Mapping[str, Json],
    inputs: Mapping[str, str],
) -> str:
    """The key of an artifact in the store; ``inputs`` maps role to the input's content digest."""
    return _digest("qpipe.artifact-key.1", [stage, version, params, engine, inputs])


def content_digest(files: Iterable[tuple[str, int, str]]) -> str:
    """The digest of a folder from its files: (relative POSIX path, bytes, SHA-256 hex)."""
    return _digest("qpipe.content.1", [list(entry) for entry in sorted(files)])


def composition_key(value: Json) -> str:
    """The name under which a composed plan is remembered (see recipe/draft_cache.py)."""
    return _digest("qpipe.composition.1", value)


def bytes_sha256(data: bytes) -> str:
    """SHA-256 (hex) of bytes in memory."""
    return hashlib.sha256(data).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    return hashing.of_file(path)
