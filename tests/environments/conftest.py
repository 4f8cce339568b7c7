"""An environment made once for all tests that only work in one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from qpipe.environments.environment import Environment
from qpipe.environments.installation import install
from tests.environments import tiny


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    folder = tmp_path_factory.mktemp("engine")
    environment = tiny.environment(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QPIPE_ENGINES", str(folder / "engines"))
        for name, value in tiny.settings(folder).items():
            patch.setenv(name, value)
        install(environment, say=lambda words: None)
        yield environment


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for an engine's files; environments go below it, wheels come from it alone."""
    folder = tmp_path / "engine"
    monkeypatch.setenv("QPIPE_ENGINES", str(tmp_path / "engines"))
    for name, value in tiny.settings(folder).items():
        monkeypatch.setenv(name, value)
    return folder
