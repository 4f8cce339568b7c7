"""What models are called outside of the store: GGUF files by the convention (`gguf_name`),
checkpoints' folders by the name of their model.

The encoding comes last, where the hub (huggingface.js, packages/tasks/src/gguf.ts) and llama.cpp's
``-hf REPO:Q4_K_M`` (common/download.cpp) look for it. Names do not depend on the order of models.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qpipe.errors import UsageError
from qpipe.export.gguf_name import NO_NAME, GgufName, is_size, plain
from qpipe.export.model import ExportedModel
from qpipe.support.files import plain_name

_LONGEST = 150
# Types of files that others are made from.
_FLOATS = "BF16|FP?16|FP?32"
_ENCODED = re.compile(r"(?:.*-)?(\w+)", re.ASCII)
_SUFFIX = re.compile(r"(?:-\d{5}-of-\d{5})?\.gguf$", re.ASCII)
# Settings by which tensors get other types than their mixture gives them.
_MIXED = (
    *("tensor_types", "like_digest", "target"),
    *("output_tensor_type", "token_embedding_type"),
)


@dataclass(frozen=True)
class ExportName:
    """A model's name outside of the store: ``model`` is the same for all formats of one model,
    ``format`` tells these apart, and is empty for a checkpoint as it was published."""

    model: str
    format: str

    @property
    def stem(self) -> str:
        """The file's name without its suffix, or the folder's."""
        return "-".join(filter(None, (self.model, self.format)))

    def mmproj(self, kind: str) -> str:
        """The file of its towers for images and sound, in numbers of a ``kind``: F16."""
        return f"mmproj-{self.model}-{kind.upper()}.gguf"


def part_name(stem: str, number: int, count: int) -> str:
    """The name of a GGUF file, or of one of several parts (llama.cpp, llama_split_path)."""
    return f"{stem}.gguf" if count == 1 else f"{stem}-{number:05d}-of-{count:05d}.gguf"


def encoding(file: str) -> str | None:
    """The last word of a GGUF file's name, which tells the files of one model apart; None of a name
    that no export has."""
    match = _ENCODED.fullmatch(_SUFFIX.sub("", file))
    return None if match is None else match[1]


def export_names(models: Sequence[ExportedModel], name: str | None = None) -> list[ExportName]:
    """Name each model; no two names are the same, even where case does not count.

    ``name`` takes the place of the model's, as it is. Raises UsageError where it would be that of
    several models, or leaves nothing of a file's name.
    """
    if name is not None:
        _refuse_name(models, name)
    names = [_named(model, name) for model in models]
    several = Counter(each.stem.casefold() for each in names)
    return [
        each
        if several[each.stem.casefold()] == 1
        else replace(
            each, format="_".join(filter(None, (each.format, model.artifact.key[:8].upper())))
        )
        for each, model in zip(names, models, strict=True)
    ]


def _refuse_name(models: Sequence[ExportedModel], name: str) -> None:
    if len(several := sorted({model.name for model in models})) > 1:
        raise UsageError(
            f"--name {name}: one name for {len(several)} models ({', '.join(several[:3])}"
            f"{', …' if len(several) > 3 else ''}); export one at a time, or leave --name out"
        )
    if not name or plain_name(name, _LONGEST) != name:
        raise UsageError(
            f"--name {name}: a file's name has letters, digits and . + = - _ alone, and no more "
            f"than {_LONGEST} bytes; such as {plain_name(name, _LONGEST) or NO_NAME}"
        )


def _named(model: ExportedModel, name: str | None) -> ExportName:
    if model.gguf is None:
        own = name or plain_name(model.name.rpartition("/")[2], _LONGEST) or NO_NAME
        return ExportName(own, plain_name(model.row.format or "", _LONGEST))
    return ExportName(name or _by_convention(model, model.gguf).stem, _encoding(model, model.gguf))


def _encoding(model: ExportedModel, file: Path) -> str:
    """The file type, with a word behind it where tensors have other types than it says."""
    from qpipe.gguf import split

    kind = model.row.format or split.read(file).file_type
    words = [re.sub(r"\W+", "_", plain(kind)).strip("_") or "unknown"]
    params = model.manifest.params
    words += ["MIX"] if any(params.get(name) for name in _MIXED) else []
    words += ["PURE"] if params.get("pure") else []
    return "_".join(words)


def _by_convention(model: ExportedModel, file: Path) -> GgufName:
    """The name from what the file says of itself, else from what its model is called."""
    from gguf import Metadata

    from qpipe.gguf import split

    opened = split.read(file)
    weights = sum(tensor.n_weights for tensor in opened.tensors.values())

    def text(field: str) -> str | None:
        value: Any = opened.metadata.get(f"general.{field}") and opened.value(f"general.{field}")
        return value if isinstance(value, str) and plain(value).strip(" -_./") else None

    base, size = text("basename"), text("size_label")
    finetune, version = text("finetune"), text("version")
    if base is None:
        own = model.name.rpartition("/")[2].strip()
        own = _without_type(own, model.row.format) or own
        _, _, base, finetune, version, size_of_name = Metadata.get_model_id_components(
            re.sub(r"\s+", "-", own), weights
        )
        size, base = size_of_name or size, base or own
    if size is not None and not is_size(size):
        base, size = f"{base}-{size}", None
    finetune = _without_type(finetune or "", model.row.format) or None
    return GgufName.of(base, size or _size(weights), finetune, version)


def _without_type(name: str, kind: str | None) -> str:
    """A name without the type of the file that a model was made from, which llama.cpp and people
    would take for the type of what was made."""
    types = "|".join(filter(None, (_FLOATS, re.escape(kind or ""))))
    return re.sub(rf"(?:[-_.]|^)(?:UD-)?(?:{types})$", "", name, flags=re.IGNORECASE)


def _size(weights: int) -> str:
    """A number of weights in two digits: 1.2B (gguf-py, utility.py, size_label)."""
    from gguf import size_label

    return str(size_label(weights, weights, 0, 0))
