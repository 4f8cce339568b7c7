"""Compiled kernels are kept on disk, and never outlive their sources."""

from __future__ import annotations

import functools
from collections.abc import Callable
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


def test_processes_that_compile_at_once_do_not_swap_kernels(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Both find no index, both write one, then their code: the other's under the same number."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    late: list[Callable[[], None]] = []
    with monkeypatch.context() as patch:
        save = caching.IndexDataCacheFile._save_data
        patch.setattr(caching.IndexDataCacheFile, "_load_index", lambda self: {})
        patch.setattr(
            caching.IndexDataCacheFile,
            "_save_data",
            lambda *arguments: late.append(functools.partial(save, *arguments)),
        )
        assert [compiled()[1], compiled(weighted=True)[1]] == [0, 0]
    for write in reversed(late):
        write()
    for weighted, wanted in ((True, 7), (False, 3)):
        kernel, _ = compiled(weighted)
        out = np.zeros((1, 1), np.uint8)
        kernel(np.empty(0, np.float32), np.empty(0, np.float32), out)
        assert out == wanted


def test_no_folder_for_compiled_code_is_an_error_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    with pytest.raises(errors.EngineMissingError, match="set NUMBA_CACHE_DIR to a folder"):
        jit.kernel(tiny, weighted=False)
