"""vLLM's environment for tests: the user's own if QPIPE_ENGINES names one, else made once."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from qpipe.environments.installation import install
from qpipe.evaluators.common.vllm_environment import CPU
from qpipe.machine import gpus

NEEDED = [
    pytest.mark.skipif(sys.version_info < (3, 11), reason="vLLM 0.32 needs Python 3.11"),
    pytest.mark.skipif(bool(gpus.visible()), reason="these are of its build for CPUs"),
]


@contextmanager
def installed(factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of environments, which QPIPE_ENGINES names meanwhile."""
    own = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        own = own.parent  # one for all workers
    folder = Path(os.environ.get("QPIPE_ENGINES") or own / "vllm-engines")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QPIPE_ENGINES", str(folder))
        install(CPU, say=lambda words: None)
        yield folder
