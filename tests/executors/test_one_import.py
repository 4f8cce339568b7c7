"""torch is imported once for all stages of a run that need it, and what they make is the same."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qpipe.executors.forking import can_fork
from tests.cli import qpipe

COUNTS = """
import os, sys

class Counts:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            fd = os.open(os.environ["TORCH_IMPORTS"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.write(fd, f"{os.getpid()}\\n".encode())

sys.meta_path.insert(0, Counts())
"""


@pytest.mark.slow
@pytest.mark.skipif(not can_fork(), reason="no forks here")
def test_torch_is_imported_once_in_a_run(tmp_path: Path) -> None:
    """The engine's own script imports it once too."""
    pytest.importorskip("llmcompressor")
    (tmp_path / "sitecustomize.py").write_text(COUNTS)
    imports = tmp_path / "imports"
    root = Path(__file__).parents[2]
    done = qpipe(
        "run", "local", "model.source=builtin:tinystories-d256", "quantize=gptq",
        "quantize.engine=llmcompressor", "calibration=tinystories", "calibration.samples=8",
        "calibration.length=64", "evaluate.chunks=2", "evaluate.n_ctx=64",
        cwd=tmp_path, timeout=300,
        env={
            "PYTHONPATH": os.pathsep.join([str(tmp_path), str(root)]),
            "TORCH_IMPORTS": str(imports), "HF_HUB_OFFLINE": "1",
        },
    )  # fmt: skip
    assert done.code == 0, done.stderr
    assert done.stderr.count("\nran ") >= 6, done.stderr
    assert len({*imports.read_text().split()}) == 1
