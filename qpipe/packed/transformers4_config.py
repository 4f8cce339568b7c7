"""A checkpoint as transformers 4 reads it: links to the weights, and configs in its words.

transformers 5 writes ``rope_parameters`` where 4 reads ``rope_theta`` and ``rope_scaling``, and
takes its default for what it does not find: a model with another base would be calibrated on
positions that it was not trained on, and nothing would say so. Source: transformers 4.51 and 5,
modeling_rope_utils.py and configuration_utils.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from qpipe.errors import CheckpointError
from qpipe.gguf import jsonfile
from qpipe.hf.implementations import without
from qpipe.packed import cast

_CONFIG, _TOKENIZER = "config.json", "tokenizer_config.json"

# Names that transformers 5.17.0 gives to tokenizers that are all in tokenizer.json.
_NEW_TOKENIZERS = ("TokenizersBackend", "PreTrainedTokenizer")
_OLD_TOKENIZER = "PreTrainedTokenizerFast"

_SEEN = (".safetensors", ".json", ".model", ".jinja", ".txt")


@contextmanager
def view(checkpoint: Path) -> Iterator[Path]:
    """A folder, gone afterwards, with the checkpoint for transformers 4; no code of the model.

    Raises CheckpointError for rotary embeddings that it has no words for.
    """
    with TemporaryDirectory(prefix="qpipe-older-") as name:
        folder = Path(name)
        for path in checkpoint.iterdir():
            if path.name == _CONFIG:
                (folder / _CONFIG).write_text(json.dumps(config(path, jsonfile.load(path))))
            elif path.name == _TOKENIZER:
                (folder / _TOKENIZER).write_text(json.dumps(tokenizer(jsonfile.load(path))))
            elif path.suffix in _SEEN:
                (folder / path.name).symlink_to(path.resolve())
        yield folder


def config(path: Path, fields: Mapping[str, Any]) -> dict[str, Any]:
    """config.json's fields; a config that is old already is as it was."""
    old_fields = {name: value for name, value in without(fields).items() if name != "auto_map"}
    if "dtype" in old_fields:
        # transformers 4.51.3 knows no dtype.
        old_fields["torch_dtype"] = old_fields.pop("dtype")
    # transformers 4.51.3 passes over them and takes its defaults.
    rope = old_fields.pop("rope_parameters", None)
    if rope is None:
        return old_fields
    if any(isinstance(value, Mapping) for value in rope.values()):
        raise CheckpointError(
            f"{path}: rope_parameters has one set for each kind of layer ({', '.join(rope)}), "
            "which transformers 4 cannot be told; choose an engine of the main environment"
        )
    rest = dict(rope)
    for name in ("rope_theta", "partial_rotary_factor"):
        if name in rest:
            old_fields[name] = rest.pop(name)
    if rest.get("rope_type", "default") != "default":
        old_fields["rope_scaling"] = rest
    return old_fields


def tokenizer(fields: Mapping[str, Any]) -> dict[str, Any]:
    """tokenizer_config.json's fields."""
    old_fields = {name: value for name, value in fields.items() if name != "auto_map"}
    if old_fields.get("tokenizer_class") in _NEW_TOKENIZERS:
        # transformers 4.51.3 knows no such class.
        old_fields["tokenizer_class"] = _OLD_TOKENIZER
    return old_fields


def theta(folder: Path) -> float | None:
    """The base of the rotary embeddings that a view's config says, None if it says none."""
    value = jsonfile.load(folder / _CONFIG).get("rope_theta")
    return None if value is None else float(value)


def write_config(source: Path, out: Path, quantization: Mapping[str, Any], *, dtype: str) -> None:
    """Write config.json as ``source`` has it, in its words, with how the weights are quantized.

    What the old transformers saved is left: it would be the view's config. ``dtype`` is one of
    `cast.DTYPES`, that of the tensors which are not quantized.
    """
    fields = cast.config(jsonfile.load(source / _CONFIG), dtype=dtype)
    fields["quantization_config"] = dict(quantization)
    (out / _CONFIG).write_text(json.dumps(fields, indent=2))


def write_old_config(
    source: Path, out: Path, quantization: Mapping[str, Any], *, dtype: str
) -> None:
    """Write config.json as `write_config` does, in the words of transformers 4 too: for tools that
    read those alone, and take their defaults where they find none."""
    write_config(source, out, quantization, dtype=dtype)
    fields = jsonfile.load(out / _CONFIG)
    both = {**fields, **config(out / _CONFIG, fields)}
    (out / _CONFIG).write_text(json.dumps(both, indent=2))


def quantization(out: Path) -> dict[str, Any]:
    """The ``quantization_config`` that a tool wrote in its own config.json."""
    settings: dict[str, Any] = jsonfile.load(out / _CONFIG)["quantization_config"]
    return settings
