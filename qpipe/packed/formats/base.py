"""What a format of packed checkpoints is: how the tensors of one matrix lie in a checkpoint."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from qpipe.errors import CheckpointError
from qpipe.gguf.safetensors import StoredTensor
from qpipe.packed.fields import Fields

Tensors = Mapping[str, StoredTensor]

# Bytes of a tensor that says something of others: the longest are group tables of EXL2.
_MOST = 1 << 20


@dataclass(frozen=True)
class Packed:
    """A matrix in packed form: ``shape`` is (rows, columns) of what it stands for, ``type`` its
    name in reports, ``parts`` the tensors that it is made of.

    ``bits`` are each weight's own, without scales and zero points; ``group_size`` weights of a row
    share a scale: -1 all of them, None a number that differs. Rows are filled up to a multiple of
    ``padded_to`` where nothing says how many the matrix has.
    """

    name: str
    shape: tuple[int, ...]
    type: str
    parts: tuple[str, ...]
    bits: float
    group_size: int | None
    padded_to: int = 1

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Tell whether a matrix of this shape can be what it stands for."""
        filled = (-(-shape[0] // self.padded_to) * self.padded_to, *shape[1:]) if shape else shape
        return self.shape in (shape, filled)


class PackedFormat(abc.ABC):
    """One way to pack. ``METHODS`` are the values of ``quant_method`` in config.json.

    ``config`` is the ``quantization_config`` everywhere.
    """

    METHODS: ClassVar[tuple[str, ...]]

    def unread(self, config: Fields) -> str | None:
        """The part of the config that this reader does not know, None if it knows all.

        Raises CheckpointError for a field of a wrong type.
        """
        return None

    @abc.abstractmethod
    def label(self, config: Fields) -> str:
        """The name of the format in reports, such as ``GPTQ-4bit-g128``.

        Raises CheckpointError for a field that is missing or of a wrong type.
        """

    def tool(self, config: Fields) -> str | None:
        """The tool that packed it, with its version, if the ``quantization_config`` says so."""
        if config.has("autoround_version"):
            return f"auto-round {config.text('autoround_version')}"
        tools = config.section("meta").texts("quantizer")
        return ", ".join(name.replace(":", " ") for name in tools) or None

    def packs(self, config: Fields) -> bool:
        """True if any matrix must be packed: not so where the KV cache alone is quantized."""
        return True

    def aside(self, tensors: Tensors, config: Fields) -> Iterator[str]:
        """The tensors that belong to no matrix and stand for no weights, such as the KV cache's
        scales."""
        return iter(())

    @abc.abstractmethod
    def modules(self, tensors: Tensors, config: Fields) -> Iterator[Packed]:
        """The packed matrices, each checked.

        Raises CheckpointError for a part that is missing, or of a wrong type or shape, and for a
        field that is missing or of a wrong type.
        """


def part(tensors: Tensors, module: str, suffix: str, dtypes: tuple[str, ...]) -> StoredTensor:
    """The tensor ``module.suffix``. Raises CheckpointError if it is missing or of another type."""
    name = f"{module}.{suffix}"
    if name not in tensors:
        near = next(tensor for key, tensor in tensors.items() if key.startswith(f"{module}."))
        raise CheckpointError(
            f"{near.path.parent}: module {module!r} has {near.name}, and no {name}; it was not "
            "written whole: quantize again"
        )
    tensor = tensors[name]
    if tensor.dtype not in dtypes:
        raise CheckpointError(f"{tensor.origin} is {tensor.dtype}, not {' or '.join(dtypes)}")
    return tensor


def matrix(
    tensors: Tensors, module: str, suffix: str, dtypes: tuple[str, ...]
) -> tuple[StoredTensor, int, int]:
    """`part` with its two dimensions, none of them 0. Raises CheckpointError for other ranks."""
    tensor = part(tensors, module, suffix, dtypes)
    if len(tensor.shape) != 2 or 0 in tensor.shape:
        raise CheckpointError(f"{tensor.origin} is {list(tensor.shape)}, no matrix")
    return tensor, *tensor.shape


def expect(tensor: StoredTensor, shape: tuple[int, ...], why: str) -> None:
    """Raises CheckpointError unless the tensor has this shape."""
    if tensor.shape != shape:
        raise CheckpointError(
            f"{tensor.origin} is {list(tensor.shape)}, and {why} needs {list(shape)}"
        )


def content(tensor: StoredTensor) -> bytes:
    """The bytes of a small tensor that says something of others. Raises CheckpointError for one
    that is not small."""
    if tensor.nbytes > _MOST:
        raise CheckpointError(
            f"{tensor.origin} has {tensor.nbytes:,} bytes, which should be a few hundred"
        )
    with tensor.path.open("rb") as file:
        file.seek(tensor.offset)
        return file.read(tensor.nbytes)


def named(tensors: Tensors, suffix: str) -> Iterator[str]:
    """The modules that have a tensor of this suffix."""
    for name in tensors:
        if name.endswith(f".{suffix}"):
            yield name.removesuffix(f".{suffix}")


def groups(columns: int, size: int) -> int:
    """The number of groups in a row of ``columns``; ``size`` -1 is one group."""
    return 1 if size == -1 else -(-columns // size)


def group_label(size: int) -> str:
    """A group size in a label."""
    return "channel" if size == -1 else f"g{size}"
