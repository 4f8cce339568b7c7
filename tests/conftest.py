"""Fixtures that several rooms of the tests share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
MODELS = (TESTS / "data" / "models", TESTS.parent / "qpipe" / "data")


@pytest.fixture(scope="session")
def gguf_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """A function (model, level) → GGUF file, converted and quantized once a session."""
    from qpipe.gguf.convert import convert
    from qpipe.gguf.quantize import quantize

    folder = tmp_path_factory.mktemp("gguf")

    def make(model: str, level: str) -> Path:
        out = folder / f"{model}-{level}.gguf"
        if out.exists():
            return out
        if level in ("F32", "F16"):
            source = next(path / model for path in MODELS if (path / model).is_dir())
            convert(source, out, outtype=level)
        else:
            base = "F16" if model == "tinystories-d256" else "F32"
            quantize(make(model, base), out, ftype=level)
        return out

    return make
