"""What a format of packed checkpoints is: how the tensors of one matrix lie in a checkpoint."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from qpipe.errors import CheckpointError
from qpipe.gguf.safetensors import StoredTensor

Tensors = Mapping[str, StoredTensor]


@dataclass(frozen=True)
class Packed:
    """A matrix in packed form: ``shape`` is (rows, columns) of what it stands for, ``type`` its
    name in reports, ``parts`` the tensors that it is made of.

    ``bits`` are each weight's own, without scales and zero points; ``group_size`` weights of a row
    share a scale: -1 all of them, None a number that differs.
    """

    name: str
    shape: tuple[int, ...]
    type: str
    parts: tuple[str, ...]
    bits: float
    group_size: int | None


class Format(abc.ABC):
    """One way to pack. ``METHODS`` are the values of ``quant_method`` in config.json."""

    METHODS: ClassVar[tuple[str, ...]]

    @abc.abstractmethod
    def label(self, config: Mapping[str, Any]) -> str:
        """The name of the format in reports, such as ``GPTQ-4bit-g128``."""

    def tool(self, config: Mapping[str, Any]) -> str | None:
        """What packed it, with its version, if the ``quantization_config`` says so."""
        if "autoround_version" in config:
            return f"auto-round {config['autoround_version']}"
        said = (config.get("meta") or {}).get("quantizer") or []
        return ", ".join(name.replace(":", " ") for name in said) or None

    @abc.abstractmethod
    def modules(self, tensors: Tensors, config: Mapping[str, Any]) -> Iterator[Packed]:
        """The packed matrices, each checked. ``config`` is the ``quantization_config``.

        Raises CheckpointError for a part that is missing, or of a wrong type or shape.
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


def expect(tensor: StoredTensor, shape: tuple[int, ...], why: str) -> None:
    """Raises CheckpointError unless the tensor has this shape."""
    if tensor.shape != shape:
        raise CheckpointError(
            f"{tensor.origin} is {list(tensor.shape)}, and {why} needs {list(shape)}"
        )


def content(tensor: StoredTensor) -> bytes:
    """The bytes of a small tensor that says something of others."""
    with tensor.path.open("rb") as file:
        file.seek(tensor.offset)
        return file.read(tensor.nbytes)


def named(tensors: Tensors, suffix: str) -> Iterator[str]:
    """The modules that have a tensor of this suffix."""
    for name in tensors:
        if name.endswith(f".{suffix}"):
            yield name.removesuffix(f".{suffix}")


def groups(columns: int, size: int) -> int:
    """How many groups a row of ``columns`` has; -1 is one group."""
    return 1 if size == -1 else -(-columns // size)


def group_label(size: int) -> str:
    """A group size in a label."""
    return "channel" if size == -1 else f"g{size}"
