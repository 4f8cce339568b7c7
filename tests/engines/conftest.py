"""One store for all real engines of a session."""

from __future__ import annotations

import pytest

from tests.engines.running import Bench


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("engines"))
