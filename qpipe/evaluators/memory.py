"""Whether a model fits into memory, asked before it is loaded. Standard library only."""

from __future__ import annotations

from pathlib import Path

from qpipe.errors import CheckpointError, OutOfMemoryError
from qpipe.machine.memory import usable
from qpipe.support import strict_json


def require(needed: int, *, what: str) -> None:
    """Raise OutOfMemoryError, with the numbers, if so many bytes can never be there."""
    there = usable()
    if needed > there:
        raise OutOfMemoryError(
            f"{what} needs about {needed / 1e9:.1f} GB of memory, and this machine has "
            f"{there / 1e9:.1f} GB: measure a smaller quantization, or on a larger machine; "
            "evaluate=none leaves the measurement out"
        )


def of_checkpoint(folder: Path) -> int:
    """Bytes that a checkpoint's weights take once loaded: those of a plain one in float32."""
    files = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    try:
        config = strict_json.load(folder / "config.json", CheckpointError)
    except CheckpointError:
        return files  # whoever loads it says what is wrong
    if not isinstance(config, dict):
        return files
    half = (config.get("dtype") or config.get("torch_dtype")) in ("bfloat16", "float16")
    return files * 2 if half and not config.get("quantization_config") else files
