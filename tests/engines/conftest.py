"""One store for all real engines of a session."""

from __future__ import annotations

import pytest

from tests.engines.running import Bench


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("engines"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test that asks for figures waits for all of them: minutes on a busy machine."""
    for item in items:
        if "bench" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(850))
