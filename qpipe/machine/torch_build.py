"""Whether torch was built for CUDA, without importing it."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

_CUDA = re.compile(r"^cuda\b[^=\n]*=\s*(?:None|['\"](?P<version>[\d.]+)['\"])", re.MULTILINE)


def cuda(package: Path | None = None) -> str | None:
    """Return the version of CUDA that the torch in the folder ``package`` (this interpreter's) was
    built for; None for one without CUDA, or where there is none.

    Source: torch/version.py, which every build writes (setup.py, tools/generate_torch_version.py).
    """
    if package is None:
        spec = find_spec("torch")
        package = Path(spec.origin).parent if spec and spec.origin else None
    try:
        text = "" if package is None else (package / "version.py").read_text()
    except OSError:
        return None
    match = _CUDA.search(text)
    return match["version"] if match else None


def problem(package: Path | None = None) -> str | None:
    """Return why torch cannot compute on a GPU that is there, with what helps; None if it can."""
    if cuda(package) is not None:
        return None
    return (
        "torch is built without CUDA: install one that is "
        "(pip install torch --index-url https://download.pytorch.org/whl/cu130)"
    )
