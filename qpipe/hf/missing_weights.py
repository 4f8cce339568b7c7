"""What a load left out: transformers 5.17 fills it with random numbers, prints a table, and goes
on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from qpipe.errors import CheckpointError

# Numbers that models compute themselves, and that checkpoints of 2023 and before have stored.
_COMPUTED = (".rotary_emb.inv_freq", ".attention.bias", ".attention.masked_bias", ".attn.bias",
             ".attn.masked_bias")  # fmt: skip


def refuse(folder: Path, info: Mapping[str, Any]) -> None:
    """Raise CheckpointError for weights that the model asks for and the checkpoint lacks, has in
    another shape, or has beside them, which are scales or packed weights that nobody read.

    ``info`` is what ``from_pretrained`` gives with ``output_loading_info``.
    """
    kinds = {
        "missing_keys": "lacks {} weights that its config.json asks for",
        "mismatched_keys": "has another shape for {} weights that its config.json asks for",
        "unexpected_keys": "has {} tensors that its config.json has no place for",
    }
    keys = {kind: [_name(item) for item in info.get(kind) or ()] for kind in kinds}
    keys["unexpected_keys"] = list(_significant(folder, keys["unexpected_keys"]))
    for kind, words in kinds.items():
        if names := sorted(keys[kind]):
            shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
            raise CheckpointError(
                f"{folder}: the checkpoint {words.format(len(names))} ({shown}); transformers "
                "would compute another model: get or make it again"
            )
    if info.get("error_msgs"):
        raise CheckpointError(f"{folder}: transformers cannot load it: {info['error_msgs'][0]}")


def refuse_unscaled(folder: Path) -> None:
    """Raise CheckpointError for eight-bit floats of method fp8 without their scales: transformers
    5.17 takes them for weights as they are, and misses nothing."""
    kinds = _dtypes(folder)
    lone = [
        name
        for name, kind in kinds.items()
        if kind.startswith("F8_E4M3") and f"{name}_scale_inv" not in kinds
    ]
    if lone:
        refuse(folder, {"missing_keys": [f"{name}_scale_inv" for name in lone]})


def _dtypes(folder: Path) -> dict[str, str]:
    """The data type of each tensor of the checkpoint, by name."""
    from safetensors import safe_open

    dtypes = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118  no mapping
                dtypes[name] = str(file.get_slice(name).get_dtype())
    return dtypes


def _name(item: Any) -> str:
    """The name of a weight; one in another shape is a tuple: name, and both shapes."""
    return str(item[0]) if isinstance(item, tuple) else str(item)


def _significant(folder: Path, names: list[str]) -> Iterator[str]:
    """Without what makes no difference: GPTQ's first tools stored a bias of zeros everywhere."""
    for name in names:
        if name.endswith(_COMPUTED):
            continue
        if not (name.endswith(".bias") and _is_zero(folder, name)):
            yield name


def _is_zero(folder: Path, name: str) -> bool:
    from safetensors import safe_open

    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            if name in file.keys():  # noqa: SIM118  no mapping
                return not bool(file.get_tensor(name).any())
    return False
