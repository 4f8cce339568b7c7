"""The folder that exllamav2 writes, made a checkpoint's: its weights under the names that runtimes
look for, with an index of their own, and nothing of the source's that tells of other files.

exllamav2 0.3.2 names weights ``output.safetensors``, or ``output-00001-of-0000N.safetensors``, and
copies all files of its source but the weights: also the index, which names files that are not
there. Source: exllamav2 0.3.2, conversion/compile.py.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from qpipe.errors import CheckpointError
from qpipe.gguf.safetensors import read_header
from qpipe.gguf.weight_files import INDEX

_WRITTEN = re.compile(r"output(?:-(\d{5})-of-(\d{5}))?\.safetensors")
_CONFIG = "config.json"


def settle(folder: Path) -> None:
    """Rename the weights in ``folder``, write their index if they are several, and take away all
    else but config.json, whose ``quantization_config`` is exllamav2's own.

    Raises CheckpointError if weights are missing or not whole.
    """
    files = _weights(folder)
    for path in folder.iterdir():
        if path not in files and path.name != _CONFIG:
            path.unlink()
    renamed = [path.rename(_name(path)) for path in files]
    headers = {path.name: read_header(path) for path in renamed}
    if len(renamed) > 1:
        sizes = [tensor.nbytes for header in headers.values() for tensor in header.values()]
        weight_map = {tensor: file for file, header in headers.items() for tensor in header}
        index = {"metadata": {"total_size": sum(sizes)}, "weight_map": weight_map}
        (folder / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")


def _weights(folder: Path) -> list[Path]:
    """The files that it wrote, all of them. Raises CheckpointError."""
    matches = {path: _WRITTEN.fullmatch(path.name) for path in sorted(folder.iterdir())}
    written = {path: match for path, match in matches.items() if match is not None}
    expected = max((int(match[2] or 1) for match in written.values()), default=1)
    if len(written) != expected:
        raise CheckpointError(
            f"{folder}: exllamav2 wrote {len(written)} of {expected} files of weights; see its log"
        )
    return [*written]


def _name(path: Path) -> Path:
    return path.with_name("model" + path.name.removeprefix("output"))
