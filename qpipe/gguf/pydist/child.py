"""llama.cpp's converter, which hands its model over instead of writing a file:
``python child.py SCRIPT REQUESTS DATA OPTIONS…``.

Runs convert_hf_to_gguf.py (SCRIPT, with OPTIONS as its command line) with another writer behind
it. Once all but the weights is known, one line of JSON goes to the file descriptor DATA: of the
metadata (key, bytes of the value), of the tensors (name, shape, ggml's number of the type, whether
they come in float32, to be rounded to it), and of the checkpoint's tensors that none of them is
made of; then the values of the metadata. Then a line of JSON comes from REQUESTS, the names of
tensors in the order in which they are wanted, and DATA gets their bytes, each computed once its
turn comes.

Nothing of qpipe is imported: the converter's own gguf package has the name of PyPI's.
"""
# ruff: noqa: E402

from __future__ import annotations

import sys

# This file's folder must be on no module path beside the converter's.
sys.path[0] = sys.argv[1].rpartition("/")[0]

import json
import os
from typing import Any, BinaryIO

import convert_hf_to_gguf  # puts its gguf package first
import gguf
import numpy as np

_HALF = (gguf.GGMLQuantizationType.F16, gguf.GGMLQuantizationType.BF16)

_quantize = gguf.quants.quantize


def quantize(data: Any, kind: Any) -> Any:
    """Do what gguf.quants.quantize does, and keep what single precision becomes half of: whoever
    quantizes it rounds it faster, and need not have it twice."""
    made = _quantize(data, kind)
    if kind in _HALF and isinstance(made, gguf.LazyNumpyTensor) and data.dtype == np.float32:
        vars(made)["single"] = data
    return made


def single(tensor: Any) -> Any:
    """Return the array that `quantize` kept for one, or None."""
    return vars(tensor).get("single") if isinstance(tensor, gguf.LazyNumpyTensor) else None


class Sources:
    """The tensors of the checkpoint's files by name, and which of them were looked at."""

    def __init__(self) -> None:
        """Listen to files that are opened, and to tensors that are read."""
        self.names: dict[int, tuple[str, Any]] = {}
        self.used: set[int] = set()
        package: Any = gguf
        local, tensor = package.utility.SafetensorsLocal, package.utility.LocalTensor
        opened, mapped = local.__init__, tensor.mmap_bytes

        def list_all(file: Any, *args: Any) -> None:
            opened(file, *args)
            self.names |= {id(each): (name, each) for name, each in file.tensors.items()}

        def note_use(each: Any) -> Any:
            self.used.add(id(each))
            return mapped(each)

        local.__init__, tensor.mmap_bytes = list_all, note_use

    def unread(self, results: Any) -> list[str]:
        """The names of those that were not read, and that no lazy tensor of ``results`` is made
        of."""
        waiting, seen = [*results], set[int]()
        while waiting:
            part = waiting.pop()
            if id(part) in seen:
                continue
            seen.add(id(part))
            self.used.add(id(part))
            if isinstance(part, list | tuple):
                waiting += part
            elif isinstance(part, gguf.LazyBase):
                waiting += [*part._args, *part._kwargs.values(), single(part)]
        return sorted(name for key, (name, _) in self.names.items() if key not in self.used)


def hand_over(writer: Any, sources: Sources, requests: int, data: int) -> None:
    """Send what a writer was given: all but the weights, then those that are asked for."""
    tensors = {name: info for shard in writer.tensors for name, info in shard.items()}
    fields = {
        key: bytes(writer._pack_val(v.value, v.type, add_vtype=True, sub_type=v.sub_type))
        for shard in writer.kv_data
        for key, v in shard.items()
    }
    head = {
        "metadata": [(key, len(value)) for key, value in fields.items()],
        "tensors": [
            (name, [int(n) for n in info.shape], int(info.dtype), single(info.tensor) is not None)
            for name, info in tensors.items()
        ],
        "unread": sources.unread(info.tensor for info in tensors.values()),
    }
    with os.fdopen(data, "wb", buffering=0) as out, os.fdopen(requests, "rb") as asked:
        send(out, json.dumps(head).encode() + b"\n" + b"".join(fields.values()))
        for name in json.loads(asked.readline() or b"[]"):
            tensor, tensors[name].tensor = tensors[name].tensor, None
            exact = single(tensor)
            array = gguf.LazyNumpyTensor.to_eager(tensor if exact is None else exact)
            del tensor, exact
            send(out, np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
            del array


def send(out: BinaryIO, data: bytes | memoryview) -> None:
    """Write all of ``data``."""
    rest = memoryview(data)
    while rest:
        rest = rest[out.write(rest) :]


def main(requests: int, data: int) -> None:
    """Convert with a writer that writes no file."""

    sources = Sources()

    def over(writer: Any, *, progress: bool = False) -> None:
        hand_over(writer, sources, requests, data)

    package: Any = gguf
    package.quants.quantize = quantize
    package.GGUFWriter.write_header_to_file = lambda writer, path=None: None
    package.GGUFWriter.write_kv_data_to_file = lambda writer: None
    package.GGUFWriter.write_tensors_to_file = over
    convert_hf_to_gguf.main()


if __name__ == "__main__":
    _, script, *channels = sys.argv[:4]
    sys.argv = [script, *sys.argv[4:]]
    main(*map(int, channels))
