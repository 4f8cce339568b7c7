"""llm-compressor's quantization of files without a model: a few matrices at a time, whatever the
size of the checkpoint and of its files.

llm-compressor 0.14 reads a whole file of the source, whatever it takes in memory, and where a file
holds a part of a model of which it expects all (DeepSeek's q_proj without a k_proj) it fails. Here
its own converter gets the matrices of one module at a time: those that share a scale (NVFP4's of
queries, keys and values, and of gate and up) are in one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qpipe.gguf.safetensors import StoredTensor

# Bytes of a file that is written, which are in memory meanwhile.
_FULL = 1_000_000_000

Tensors = dict[str, Any]


def quantize(
    tensors: Mapping[str, StoredTensor],
    wanted: Sequence[str],
    config: Any,
    out: Path,
    *,
    device: str,
    full: int = _FULL,
) -> None:
    """Write ``tensors`` into ``out``, the matrices of the modules ``wanted`` as ``config``, a
    QuantizationConfig of compressed-tensors, says, all others as they are; files have ``full``
    bytes, or one module.

    config.json must lie in ``out`` and gets the settings.
    """
    import torch
    from llmcompressor.entrypoints.model_free.converter import ModelFreePtqConverter
    from llmcompressor.entrypoints.model_free.save_utils import update_config

    converter, names = ModelFreePtqConverter(config), {f"{name}.weight" for name in wanted}

    def converted() -> Iterator[Tensors]:
        for unit in _units(tensors):
            inside = _loaded([tensor for tensor in unit if tensor.name in names], device)
            plain = _loaded([tensor for tensor in unit if tensor.name not in names], "cpu")
            with torch.no_grad():
                made = converter.process(inside) if inside else {}
            # compressed-tensors 0.19 cuts padded blocks back as a view, which is not saved.
            yield {**plain, **{name: t.cpu().contiguous() for name, t in made.items()}}

    _save(converted(), out, full)
    update_config(out, config)


def _units(tensors: Mapping[str, StoredTensor]) -> Iterator[list[StoredTensor]]:
    """Tensors of modules beside each other (``model.layers.0.self_attn``), in order."""
    units: dict[str, list[StoredTensor]] = {}
    for name, tensor in tensors.items():
        units.setdefault(".".join(name.split(".")[:-2]), []).append(tensor)
    return iter(units.values())


def _loaded(tensors: Sequence[StoredTensor], device: str) -> Tensors:
    from safetensors import safe_open

    loaded: Tensors = {}
    for path in sorted({tensor.path for tensor in tensors}):
        with safe_open(path, "pt", device=device) as file:
            for tensor in tensors:
                if tensor.path == path:
                    loaded[tensor.name] = file.get_tensor(tensor.name)
    return loaded


def _save(units: Iterator[Tensors], out: Path, full: int) -> None:
    """Write tensors into files, and their index where there are several."""
    from qpipe.gguf.safetensors import read_header
    from qpipe.packed.restore import file_names, write_index

    count, held = 0, Tensors()
    for unit in units:
        if held and _bytes(held) + _bytes(unit) > full:
            _write(held, out / f".{count}")
            count, held = count + 1, {}
        held |= unit
    _write(held, out / f".{count}")
    names = file_names(count + 1)
    for number, name in enumerate(names):
        (out / f".{number}").replace(out / name)
    if len(names) > 1:
        write_index(out, {name: [*read_header(out / name).values()] for name in names})


def _write(tensors: Tensors, path: Path) -> None:
    from safetensors.torch import save_file

    save_file(tensors, path, metadata={"format": "pt"})


def _bytes(tensors: Tensors) -> int:
    return sum(tensor.nbytes for tensor in tensors.values())
