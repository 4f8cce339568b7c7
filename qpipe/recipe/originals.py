"""Files that `run.reference` may name."""

from __future__ import annotations

from pathlib import Path

from qpipe.errors import RecipeError
from qpipe.sources.model_files import names_weights
from qpipe.support.file_kinds import GGUF, REFERENCE_FILE, REFERENCE_SUFFIX, kind_of

DOWNLOAD = "original_download"
"""The stage that fetches a reference which is a model, or its reference file."""

_OF_A_MODEL = ("config.json", "*.gguf", "*.safetensors", "*.bin", "*.pth", "*.json")
_TAKEN = f"give OWNER/NAME, ./FOLDER, ./FILE.gguf, or FILE{REFERENCE_SUFFIX}"


def require_original(path: Path) -> None:
    """Raise RecipeError for a file that is neither a model's nor a reference file, by its name, and
    for a folder without either: what it is, and what would be taken."""
    if path.is_dir() and not any(any(path.glob(pattern)) for pattern in _OF_A_MODEL):
        names = ", ".join(sorted(each.name for each in path.iterdir())[:3]) or "nothing"
        raise RecipeError(f"run.reference: {path} holds no model ({names}); {_TAKEN}")
    if not path.is_file() or path.name.endswith((".gguf", REFERENCE_SUFFIX)):
        return
    kind = kind_of(path, RecipeError)
    if names_weights(path.name) and kind != REFERENCE_FILE:
        return
    stem = path.name.removesuffix(".safetensors")
    renamed = {REFERENCE_FILE: f"call it {stem}{REFERENCE_SUFFIX}", GGUF: f"call it {stem}.gguf"}
    raise RecipeError(
        f"run.reference: {path} is {kind}, and neither a model nor a reference file by its name; "
        f"{renamed.get(kind, _TAKEN)}"
    )
