"""One store for all real engines of a session."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engines.running import MODEL, Bench
from tests.packed import fp8


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("engines"))


@pytest.fixture(scope="session")
def of_fp8(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model as it would be published in FP8 alone."""
    return fp8.make(MODEL, tmp_path_factory.mktemp("fp8") / "model")


@pytest.fixture(scope="session")
def from_fp8(of_fp8: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That in bfloat16 again."""
    from qpipe.packed import dequantize

    out = tmp_path_factory.mktemp("plain")
    dequantize.dequantize(of_fp8, out)
    return out


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test that asks for figures waits for all of them: minutes on a busy machine."""
    for item in items:
        if "bench" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(850))
