"""Kernels that different processes compiled work side by side in one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_CHECK = """
import sys
import numpy as np
from qpipe.gguf import ggml
from qpipe.gguf.quantizers import quantizer
from qpipe.gguf.types import GGMLType

rows = np.random.default_rng(0).normal(scale=0.02, size=(4, 512)).astype(np.float32)
for kind in map(GGMLType.__getitem__, sys.argv[1:]):
    assert (quantizer(kind)(rows) == ggml.quantize(rows, kind)).all(), kind
"""


def quantized_rightly(cache: Path, *kinds: str) -> None:
    subprocess.run(
        [sys.executable, "-c", _CHECK, *kinds],
        env={**os.environ, "NUMBA_CACHE_DIR": str(cache)},
        check=True,
    )


@pytest.mark.slow
def test_kernels_of_two_processes_do_not_share_parts(tmp_path: Path) -> None:
    """Both have parts made by one function, of one name, that differ by what they close over."""
    for kind in ("Q4_1", "Q5_1"):
        quantized_rightly(tmp_path, kind)
    quantized_rightly(tmp_path, "Q4_1", "Q5_1")
    quantized_rightly(tmp_path, "Q5_1", "Q4_1")
