"""What a file of torch.save asks for and claims, looked at before torch is given it. Runs nothing.

A pickle is a program: each of its steps is read here (`pickletools`) and none carried out. What a
file of plain tensors has no need of is refused, by its name; so are numbers and entries of the zip
around it for which the file has no room.
"""

from __future__ import annotations

import io
import os
import pickletools
import struct
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from qpipe.errors import CheckpointError, quoted
from qpipe.support.files import open_file
from qpipe.support.inside import is_inner

MOST_PICKLE = 1 << 24
"""Bytes of the pickle that describes the tensors of a file: some 150 for each."""

MOST_STEPS = 2_000_000
"""Its steps: some 40 for each tensor."""

MOST_ENTRIES = 1 << 18
"""Files in the zip: one for each tensor's storage."""

# What torch.save (2.13, and since 0.4) names for tensors and parameters in a dictionary.
_CLASSES = frozenset(
    {
        "collections OrderedDict",
        "torch Size",
        "torch._utils _rebuild_tensor",
        "torch._utils _rebuild_tensor_v2",
        "torch._utils _rebuild_tensor_v3",
        "torch._utils _rebuild_parameter",
        "torch.storage TypedStorage",
        "torch.storage UntypedStorage",
        "torch.storage _LegacyStorage",
    }
)
_STORAGES = frozenset(
    f"torch {kind}Storage"
    for kind in [
        "Double",
        "Float",
        "Half",
        "BFloat16",
        "Long",
        "Int",
        "Short",
        "Char",
        "Byte",
        "Bool",
    ]
)
# Of types without a storage of their own.
_DTYPES = frozenset(
    f"torch {kind}"
    for kind in ["float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu", "uint16", "uint32", "uint64"]
)
# Steps that name a class by what was read before, of protocols that torch.save does not write.
_LATER = frozenset({"STACK_GLOBAL", "EXT1", "EXT2", "EXT4"})
# Files that are not zips (before torch 1.6) begin with a number, the version, and sizes of C's
# types; then come the tensors, and the names of their storages.
_LEGACY_PICKLES, _LEGACY_TENSORS = 5, 3

_WRONG = (ValueError, zipfile.BadZipFile, struct.error, NotImplementedError, EOFError)

_END, _END_64, _LOCATOR_64 = b"PK\5\6", b"PK\6\6", b"PK\6\7"
_UNKNOWN = 0xFFFFFFFF


@dataclass(frozen=True)
class PickledFile:
    """A file that may be given to torch: its bytes, and whether it is a zip, which can be mapped
    into memory (since torch 1.6)."""

    path: Path
    size: int
    zipped: bool


def check(path: Path) -> PickledFile:
    """Look through a file of torch.save.

    Raises CheckpointError for a class other than those of tensors, naming it; for TorchScript; for
    entries that are compressed, twice there, named as if they lay outside or larger than the file;
    and for counts that are larger than the file.
    """
    with open_file(path, CheckpointError) as file:
        size = os.fstat(file.fileno()).st_size
        zipped = file.read(4) == b"PK\3\4"
        file.seek(0)
        try:
            with warnings.catch_warnings():  # pickletools' own, of escapes in old texts
                warnings.simplefilter("ignore")
                if zipped:
                    _check_steps(path, io.BytesIO(_description(path, file, size)), size)
                else:
                    _check_legacy(path, file, size)
        except (*_WRONG, OSError) as error:
            raise _broken(path, f"no file of torch.save: {quoted(str(error))}") from None
    return PickledFile(path, size, zipped)


def _check_legacy(path: Path, file: BinaryIO, size: int) -> None:
    head = io.BytesIO(file.read(MOST_PICKLE))
    for number in range(_LEGACY_PICKLES):
        _check_steps(path, head, size if number >= _LEGACY_TENSORS else None)


def _check_steps(path: Path, pickle: BinaryIO, most: int | None) -> None:
    """Look through a pickle, in which no number may be larger than ``most`` (None: any)."""
    for step, (kind, value) in enumerate(_named(pickle)):
        if step > MOST_STEPS:
            raise _broken(path, f"more than {MOST_STEPS:,} steps")
        if kind == "class" and value not in _CLASSES | _STORAGES | _DTYPES:
            name = quoted(str(value).replace(" ", "."))
            raise CheckpointError(
                f"{path}: asks for {name} to be loaded, which plain tensors have no need of: a "
                "pickle may run code through it, so nothing of the file was read. Save its "
                "tensors alone, as torch.save(model.state_dict(), FILE) does, or better as "
                "safetensors"
            )
        if kind == "number" and most is not None and not 0 <= int(str(value)) <= most:
            raise _broken(path, f"a size of {value}, and the file has {most} bytes")


def _named(pickle: BinaryIO) -> Iterator[tuple[str, object]]:
    """(what it is, value) of each step that names a class or a number, and of others ("", None)."""
    for opcode, argument, _ in pickletools.genops(pickle):
        name = opcode.name
        if name in ("GLOBAL", "INST"):
            yield "class", argument
        elif name in _LATER:
            raise ValueError(f"{name}, a step that pickles of torch.save have not")
        elif isinstance(argument, int) and not name.endswith(("GET", "PUT", "PROTO")):
            yield "number", int(argument)
        else:
            yield "", None


def _description(path: Path, file: BinaryIO, size: int) -> bytes:
    """The pickle in a zip whose entries were all found to be plain files with room in it."""
    _check_directory(path, file, size)
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        _check_entries(path, entries, size)
        names = {entry.filename.partition("/")[2]: entry for entry in entries}
        if "constants.pkl" in names or "code" in {name.split("/")[0] for name in names}:
            raise CheckpointError(
                f"{path}: TorchScript, which is a program and not a file of tensors; save the "
                "model's state_dict() as safetensors"
            )
        description = names.get("data.pkl")
        if description is None:
            raise _broken(path, "no data.pkl in it")
        if description.file_size > MOST_PICKLE:
            raise _broken(path, f"a data.pkl of {description.file_size:,} bytes")
        return archive.read(description)


def _check_entries(path: Path, entries: list[zipfile.ZipInfo], size: int) -> None:
    seen: set[str] = set()
    for entry in entries:
        name = quoted(entry.filename)
        if not is_inner(entry.filename):
            raise _broken(path, f"the entry {name}, which lies in no folder")
        if entry.filename in seen:
            raise _broken(path, f"the entry {name} twice")
        seen.add(entry.filename)
        stored = entry.compress_type == zipfile.ZIP_STORED and not entry.flag_bits & 1
        if not stored or entry.file_size != entry.compress_size:
            raise _broken(path, f"the entry {name} compressed or encrypted")
        if entry.header_offset < 0 or entry.header_offset + entry.file_size > size:
            raise _broken(path, f"the entry {name} of {entry.file_size:,} bytes of {size:,}")
    if sum(entry.file_size for entry in entries) > size:
        raise _broken(path, f"entries that share bytes: more than {size:,} in all")


def _check_directory(path: Path, file: BinaryIO, size: int) -> None:
    """Look at how long the list of entries is, before `zipfile` reads it whole."""
    start = max(0, size - (1 << 16) - 22)
    file.seek(start)
    tail = file.read(size - start)
    at = tail.rfind(_END)
    if at < 0:
        raise _broken(path, "no list of what is in the zip: it is cut short")
    count, length = struct.unpack_from("<HI", tail, at + 10)
    locator = tail.rfind(_LOCATOR_64)
    if (length == _UNKNOWN or count == 0xFFFF) and locator >= 0:
        (place,) = struct.unpack_from("<Q", tail, locator + 8)
        file.seek(min(place, size))
        record = file.read(56)
        if not record.startswith(_END_64):
            raise _broken(path, "no list of what is in the zip")
        count, length = struct.unpack_from("<QQ", record, 32)
    if count > MOST_ENTRIES or length > min(size, MOST_ENTRIES * 200):
        raise _broken(path, f"a list of {count:,} entries in {length:,} bytes")
    file.seek(0)


def _broken(path: Path, problem: str) -> CheckpointError:
    return CheckpointError(
        f"{path}: not a usable file of weights of torch.save: it has {problem}; download it again"
    )
