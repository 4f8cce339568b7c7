"""Published files for the tests of attest: llama.cpp's own by their digests, and damaged ones."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import gguf

from qpipe.gguf import convert, quantize, reader, stream
from qpipe.gguf.chunks import OutputTensor
from qpipe.gguf.file_plan import FilePlan
from tests.gguf import samples

TINY = samples.MODELS["tinystories-d256"]


def golden(folder: Path, model: str, ftype: str, *, imatrix: bool = False) -> Path:
    """The file that llama.cpp's converter and llama-quantize make of a model: the same bytes, by
    the SHA-256 of theirs."""
    out = folder / f"{model}-{ftype}{'-i1' if imatrix else ''}.gguf"
    outtype = samples.CONVERTED[model]
    given: Path | FilePlan = convert.prepare(samples.MODELS[model], outtype=outtype)
    if ftype == outtype:
        given = folder / "converted.gguf"
        convert.convert(samples.MODELS[model], given, outtype=outtype)
    matrix = samples.imatrix_of(model) if imatrix else None
    quantize.quantize(given, out, ftype=ftype, imatrix=matrix, threads=2)
    use = "imatrix" if imatrix else "none"
    (wanted,) = [
        row["sha256"]
        for row in samples.table("files.tsv")
        if (row["model"], row["ftype"], row["imatrix"]) == (model, ftype, use)
    ]
    assert hashlib.sha256(out.read_bytes()).hexdigest() == wanted
    return out


def with_byte(file: Path, tensor: str, *, at: int = 0) -> Path:
    """A copy in which one byte of a tensor is another."""
    data = bytearray(file.read_bytes())
    data[reader.read(file).tensors[tensor].offset + at] ^= 0x40
    return _beside(file, "byte", bytes(data))


def swapped(file: Path, one: str, other: str) -> Path:
    """A copy in which two tensors of one type and shape have each other's bytes."""
    data, tensors = bytearray(file.read_bytes()), reader.read(file).tensors
    a, b = tensors[one], tensors[other]
    assert (a.type, a.shape) == (b.type, b.shape)
    first, second = (bytes(data[t.offset : t.offset + t.nbytes]) for t in (a, b))
    data[a.offset : a.offset + a.nbytes], data[b.offset : b.offset + b.nbytes] = second, first
    return _beside(file, "swapped", bytes(data))


def with_type_number(file: Path, tensor: str, number: int) -> Path:
    """A copy whose header says that a tensor is of the type of this number."""
    data = bytearray(file.read_bytes())
    name = struct.pack("<Q", len(tensor)) + tensor.encode()
    at = data.index(name) + len(name)
    (n_dims,) = struct.unpack_from("<I", data, at)
    struct.pack_into("<I", data, at + 4 + 8 * n_dims, number)
    return _beside(file, "unknown", bytes(data))


def rewritten(
    file: Path,
    word: str,
    *,
    outputs: Callable[[list[OutputTensor]], Iterable[OutputTensor]] = list,
    metadata: Mapping[str, bytes] | None = None,
) -> Path:
    """A copy with other tensors or other metadata."""
    given = quantize.read(file)
    out = file.with_name(f"{file.stem}-{word}.gguf")
    fields = {**given.metadata, **(metadata or {})}
    stream.write([stream.OutputFile(out, fields, list(outputs(given.outputs)))])
    return out


def aligned(file: Path, alignment: int) -> Path:
    """A copy by gguf-py whose tensors begin at multiples of ``alignment``."""
    out = file.with_name(f"{file.stem}-{alignment}.gguf")
    writer = gguf.GGUFWriter(out, "llama")
    writer.add_custom_alignment(alignment)
    for tensor in gguf.GGUFReader(file).tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out


def head_again(outputs: list[OutputTensor]) -> list[OutputTensor]:
    """The tensors, and the embeddings once more as the head."""
    (embeddings,) = (output for output in outputs if output.name == "token_embd.weight")
    return [*outputs, replace(embeddings, name="output.weight")]


def _beside(file: Path, word: str, data: bytes) -> Path:
    out = file.with_name(f"{file.stem}-{word}.gguf")
    out.write_bytes(data)
    return out
