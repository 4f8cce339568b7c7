"""Compiled kernels are kept on disk, and never outlive their sources."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from numba.core import caching

from qpipe import errors
from qpipe.gguf.quantizers._kernels import jit


def tiny(sources: str, weighted: bool) -> jit.Kernel:
    def fill(blocks: jit.Floats, importance: jit.Floats, out: jit.Bytes) -> None:
        sources  # noqa: B018
        out[:] = 7 if weighted else 3

    return fill


def compiled(weighted: bool = False) -> tuple[Any, int]:
    """A fresh `tiny` as another process would get it, and how often numba's cache had it."""
    kernel: Any = jit._compile.__wrapped__(tiny, weighted)
    return kernel, sum(kernel.stats.cache_hits.values())


def test_a_kernel_is_compiled_once_for_its_sources(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    assert [compiled()[1], compiled()[1]] == [0, 1]
    kernel, hits = compiled(weighted=True)
    assert hits == 0
    out = np.zeros((2, 3), np.uint8)
    kernel(np.empty(0, np.float32), np.empty(0, np.float32), out)
    assert (out == 7).all()
    monkeypatch.setattr(jit, "_sources", lambda: "as if a file had changed")
    assert [compiled()[1], compiled()[1]] == [0, 1]


def test_no_folder_for_compiled_code_is_an_error_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    with pytest.raises(errors.EngineMissingError, match="set NUMBA_CACHE_DIR to a folder"):
        jit.kernel(tiny, weighted=False)
