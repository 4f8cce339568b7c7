"""Fixtures that several rooms of the tests share."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings

# As qpipe starts its workers. torch's threads, more than one to a core while tests run beside each
# other, would wait for each other by spinning: up to nine times the work. Read as torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# A busy machine is slow; that is no fault of the code under test.
settings.register_profile("qpipe", deadline=None)
settings.load_profile("qpipe")

TESTS = Path(__file__).parent
MODELS = (TESTS / "data" / "models", TESTS.parent / "qpipe" / "data")


def pytest_configure() -> None:
    """Hear the signals that a shell lets its background jobs ignore, as do all processes started
    from here: tests send them."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, default)
    # A book of one's own: no test waits for what others run on this machine.
    os.environ["QPIPE_BOOKINGS"] = tempfile.mkdtemp(prefix="qpipe-bookings-")


def pytest_unconfigure() -> None:
    """Take the book away."""
    shutil.rmtree(os.environ.pop("QPIPE_BOOKINGS"), ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Measure the coverage of qpipe.core by the tests of that room: tracing costs all others time,
    and what they happen to run is not tested by it."""
    for item in items:
        if TESTS / "core" not in item.path.parents:
            item.add_marker("no_cover")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Fail where groups are asked for and not kept: each worker would make what a group shares."""
    if getattr(session.config.option, "loadgroup", False):
        grouped = [item for item in session.items if item.get_closest_marker("xdist_group")]
        assert all("@" in item.nodeid for item in grouped), "pytest-xdist does not keep groups"


@pytest.fixture(scope="session")
def gguf_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """A function (model, level) → GGUF file, converted and quantized once a session."""
    from qpipe.gguf.convert import convert
    from qpipe.gguf.quantize import quantize

    folder = tmp_path_factory.mktemp("gguf")

    def make(model: str, level: str) -> Path:
        out = folder / f"{model}-{level}.gguf"
        if out.exists():
            return out
        if level in ("F32", "F16"):
            source = next(path / model for path in MODELS if (path / model).is_dir())
            convert(source, out, outtype=level)
        else:
            base = "F16" if model == "tinystories-d256" else "F32"
            quantize(make(model, base), out, ftype=level)
        return out

    return make


@pytest.fixture(autouse=True)
def importable_toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Worker processes find tests/toys.py, wherever the tests were started."""
    found = os.environ.get("PYTHONPATH")
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(TESTS.parent), *([found] if found else [])])
    )


@pytest.fixture(autouse=True)
def environment_left_as_found() -> Iterator[None]:
    """Fail a test that leaves variables behind which change what the tests after it see."""
    found = _settings()
    yield
    left = _settings()
    if left != found:
        for name in left.keys() | found.keys():
            os.environ.pop(name, None)
        os.environ.update(found)
    assert left == found


def _settings() -> dict[str, str]:
    """Not all of HF_*: importing some libraries sets what makes no difference."""
    ours = ("QPIPE_", "HYDRA_")
    hub = {"HF_ENDPOINT", "HF_HOME", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_TOKEN"}
    return {n: value for n, value in os.environ.items() if n in hub or n.startswith(ours)}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """A function (size such as 4m) → the folder of a real file system of that size."""
    with ExitStack() as stack:

        def mount(size: str) -> Path:
            if sys.platform != "linux" or os.geteuid() != 0:
                pytest.skip("mounting a tmpfs needs root on Linux")
            folder = tmp_path / f"disk-{size}"
            folder.mkdir()
            done = subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
            stack.callback(subprocess.run, ["umount", "-l", str(folder)], check=True)
            return folder

        yield mount
