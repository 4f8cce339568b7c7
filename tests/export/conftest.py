"""One small run that the tests of this folder share."""

from __future__ import annotations

from pathlib import Path

import pytest

import qpipe


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store, and a run of two levels that were measured."""
    folder = tmp_path_factory.mktemp("exported")
    qpipe.load(
        "local", "model.source=builtin:stories260K", "quantize.type=Q8_0,Q4_0", "evaluate.chunks=1",
        sweep=True, store=folder / "store", runs=folder / "runs",
    ).run()  # fmt: skip
    return folder
