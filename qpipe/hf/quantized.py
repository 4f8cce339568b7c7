"""How a checkpoint says that its weights are quantized: one reading for all who must know it.

Most tools write ``quantization_config`` into config.json. Others are about too:

===========================  ======================================================
config.json                  compression_config (compressed-tensors until 2024), quantization (MLX),
                             text_config.quantization_config (models of text and images)
quantize_config.json         AutoGPTQ, GPTQModel before 1.0
quant_config.json            AutoAWQ before transformers 4.35
hf_quant_config.json         NVIDIA's ModelOpt
quanto_qmap.json             optimum-quanto
===========================  ======================================================

Files beside config.json count where tensors are packed indeed: tools leave them lying about. And
tensors that are packed where nothing says how are no plain weights either.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qpipe.errors import CheckpointError
from qpipe.support import strict_json
from qpipe.support.files import open_file, up_to

CONFIG = "config.json"
AS_IT_IS = "measure it as it is: quantize=none quantize.dtype=source"
"""The way out for a checkpoint that is quantized already."""
# By file, the method that its tool meant without saying so, and the names that it has for fields.
_FILES: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "quantize_config.json": ("gptq", {"checkpoint_format": "format"}),
    "quant_config.json": ("awq", {"w_bit": "bits", "q_group_size": "group_size"}),
    "hf_quant_config.json": ("modelopt", {}),
    "quanto_qmap.json": ("quanto", {}),
}
# By method, the bits of a weight, where a tool has one number of them and does not write it.
_BITS: Mapping[str, list[int | float]] = {"fp8": [8], "mxfp4": [4], "bitnet": [2]}
# ModelOpt's names of its algorithms have the bits in them.
_ALGORITHMS: Mapping[str, tuple[int, ...]] = {"FP4": (4,), "FP8": (8,), "MIXED": (4, 8)}
# Ends of the names of packed tensors and their scales, as they are in a header.
_PACKED = (
    b'.qweight"', b'.weight_packed"', b'.weight_scale"', b'_scale_inv"', b'._weight_qdata"',
    b'.SCB"', b'.W_q"', b".weight._data", b'.q_weight"', b".weight.quant_state.bitsandbytes__",
)  # fmt: skip
_MOST = 100_000_000  # bytes of a header: safetensors/src/tensor.rs, MAX_HEADER_SIZE


@dataclass(frozen=True)
class QuantizationSettings:
    """``fields`` as they are in ``where``, a dotted field of ``path`` or the whole file ("").

    ``method`` is the tool's own word, None where nothing says it.
    """

    path: Path
    where: str
    method: str | None
    fields: Mapping[str, Any]

    @property
    def words(self) -> str:
        """``gptq, 4 bits``, for messages."""
        method = self.method or "by a method that it does not name"
        bits = self._all_bits
        return f"{method:.40}, {', '.join(map(str, bits))} bits" if bits else f"{method:.40}"

    @property
    def least_bits(self) -> float | None:
        """The fewest bits that a packed weight takes, scales not counted; None if nothing says."""
        return min(self._all_bits, default=None)

    @property
    def _all_bits(self) -> list[int | float]:
        return sorted(_bits(self.fields)) or _BITS.get(self.method or "", [])

    @property
    def note(self) -> str:
        """The sentence for whoever has a model made of such a checkpoint."""
        return (
            f"model.source was quantized already ({self.words}), and dequantized: the loss of that "
            "is not seen here"
        )

    @property
    def refusal(self) -> str:
        """The sentence for whoever wants to quantize such a checkpoint again."""
        return (
            f"model.source is quantized already ({self.words}); quantizing twice loses more than "
            f"either: give the checkpoint before quantization, or {AS_IT_IS}"
        )

    @property
    def for_transformers(self) -> dict[str, Any] | None:
        """The ``quantization_config`` that config.json needs; None if it is there already."""
        if self.path.name == CONFIG and self.where.endswith("quantization_config"):
            return None
        _, names = _FILES.get(self.path.name, ("", {}))
        fields = {names.get(name, name): value for name, value in self.fields.items()}
        return {**fields, "quant_method": self.method}


def read_settings(folder: Path, config: Mapping[str, Any]) -> QuantizationSettings | None:
    """Quantization settings of the checkpoint in ``folder`` with this config.json, None if it is
    not quantized.

    Raises CheckpointError for settings that are no object.
    """
    if (stated := settings_in(folder / CONFIG, config)) is not None:
        return stated
    if not _is_packed(folder):
        return None
    for name, (method, _) in _FILES.items():
        path = folder / name
        if path.is_file():
            fields = read_object(path)
            return QuantizationSettings(path, "", _method(path, "", fields) or method, fields)
    return QuantizationSettings(folder / CONFIG, "", None, {})


def settings_in(path: Path, config: Mapping[str, Any]) -> QuantizationSettings | None:
    """`read_settings` of a config.json, ``path``, with these fields, and of nothing beside it.

    Raises CheckpointError for settings that are no object.
    """
    for where, section in _in_config(path, config):
        return QuantizationSettings(path, where, _method(path, where, section), section)
    return None


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in ``path``. Raises CheckpointError for a file that holds none."""
    try:
        contents = strict_json.load(path, CheckpointError)
    except CheckpointError as error:
        raise CheckpointError(f"{error}; give a whole checkpoint folder") from None
    if not isinstance(contents, dict):
        raise CheckpointError(f"{path}: holds no JSON object; give a whole checkpoint folder")
    return contents


def _in_config(path: Path, config: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    text = config.get("text_config")
    inner = text.get("quantization_config") if isinstance(text, dict) else None
    candidates = {
        "quantization_config": config.get("quantization_config"),
        "compression_config": config.get("compression_config"),
        "text_config.quantization_config": inner,
        "quantization": _of_mlx(config.get("quantization")),
    }
    for where, section in candidates.items():
        if section is None or section == {}:
            continue
        if not isinstance(section, dict):
            raise CheckpointError(f"{path}: field {where!r} is {section!r:.60}, not an object")
        yield where, section


def _of_mlx(section: object) -> object:
    """mlx-lm writes {"group_size", "bits"} under this name, and as ``quantization_config`` too."""
    return (
        section if isinstance(section, dict) and {"bits", "group_size"} <= section.keys() else None
    )


def _method(path: Path, where: str, section: Mapping[str, Any]) -> str | None:
    method = section.get("quant_method")
    if method is None:
        return _implied_method(where, section)
    if not isinstance(method, str):
        named = f"{where}.quant_method" if where else "quant_method"
        raise CheckpointError(f"{path}: field {named!r} is {method!r:.60}, not a method's name")
    # Older compressed-tensors: quantization_config.py of transformers 4.45 took both for one.
    return "compressed-tensors" if method == "sparseml" else method


def _implied_method(where: str, section: Mapping[str, Any]) -> str | None:
    """Tools that wrote no ``quant_method``, by what they did write."""
    if section.get("load_in_4bit") is True or section.get("load_in_8bit") is True:
        return "bitsandbytes"
    if where == "compression_config":
        return "compressed-tensors"
    mlx = where.startswith("quantization") and {"bits", "group_size"} <= section.keys()
    return "mlx" if mlx else None


def _bits(fields: Mapping[str, Any]) -> set[int | float]:
    """The bits per weight in a tool's settings, where they give them as numbers."""
    groups = fields.get("config_groups")
    named: list[Any] = [fields.get("bits"), fields.get("w_bit")]
    for group in groups.values() if isinstance(groups, dict) else ():
        weights = group.get("weights") if isinstance(group, dict) else None
        named.append(weights.get("num_bits") if isinstance(weights, dict) else None)
    named += [bits for bits in (4, 8) if fields.get(f"load_in_{bits}bit") is True]
    inside = fields.get("quantization")
    algorithm = (inside if isinstance(inside, dict) else fields).get("quant_algo")
    if isinstance(algorithm, str):
        named += [bits for part, both in _ALGORITHMS.items() if part in algorithm for bits in both]
    numbers = (n for n in named if isinstance(n, (int, float)) and not isinstance(n, bool))
    return {number for number in numbers if 0 < number <= 16}


def _is_packed(folder: Path) -> bool:
    return any(mark in head for head in _heads(folder) for mark in _PACKED)


def _heads(folder: Path) -> Iterator[bytes]:
    """The header of each file of the model; nothing of one that has none."""
    names = sorted(folder.glob("model*.safetensors")) or sorted(folder.glob("*.safetensors"))
    for path in names:
        with open_file(path, CheckpointError) as file:
            prefix = file.read(8)
            length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
            yield up_to(file, min(length, _MOST))
