"""The matrices of a checkpoint that engines quantize."""

from __future__ import annotations

from pathlib import Path

# The module of the output matrix, in all architectures whose output matrix can be quantized.
OUTPUT = "lm_head"


def quantizable(folder: Path, *, output: bool = False) -> dict[str, tuple[int, int]]:
    """The matrices of a checkpoint that engines quantize, by module: (rows, columns).

    All but embeddings and norms, and but for the output matrix unless asked for; of those that are
    packed already what they stand for. Raises CheckpointError.
    """
    from qpipe.packed import source  # with numpy, which engines do without until they run

    matrices = {}
    words = ("embed", "norm", "wte", "wpe", *(() if output else (OUTPUT,)))
    for name, tensor in source.opened(folder).tensors.items():
        module = name.removesuffix(".weight")
        excluded = any(word in module.split(".")[-1] for word in words)
        if module != name and len(tensor.shape) == 2 and not excluded:
            matrices[module] = (tensor.shape[0], tensor.shape[1])
    return matrices
