"""What tests on a GPU share; without one they are skipped, with the reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpipe.machine import gpus
from tests.gpu.running import GpuBench


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests of this folder."""
    why = gpus.problem()
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.gpu)
            item.add_marker(pytest.mark.slow)
            if why is not None:
                item.add_marker(pytest.mark.skip(reason=f"needs an NVIDIA GPU: {why}"))


@pytest.fixture
def bench(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> GpuBench:
    """A folder of one's own; the store is that of all workers of pytest."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if base.name.startswith("popen-") else base
    return GpuBench(tmp_path, shared / "store")
