"""What other processes do while something is measured."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qpipe.machine import load
from qpipe.machine.load import LoadMeter, busy_seconds, load_average

STAT = "cpu  1000 100 500 90000 700 30 20 50 400 0\ncpu0 1 2 3\n"
counted = pytest.mark.skipif(busy_seconds() is None, reason="no /proc/stat here")


@counted
def test_work_of_this_process_is_counted_as_work_and_as_its_own() -> None:
    meter, busy, until = LoadMeter(), busy_seconds(), time.process_time() + 0.3
    while time.process_time() < until:
        pass
    after = busy_seconds()
    assert busy is not None and after is not None
    assert after - busy >= 0.2
    others = meter.read().others
    assert others is not None and 0 <= others <= 1


@counted
def test_others_are_seen() -> None:
    spin = "import time\nt = time.process_time() + 60\nwhile time.process_time() < t: pass"
    meter = LoadMeter()
    started = time.monotonic()
    with subprocess.Popen([sys.executable, "-c", spin]) as other:
        time.sleep(1.0)
        # It runs on and is waited for later: so far it is not among what this process did.
        others = meter.read().others
        seconds = time.monotonic() - started
        other.kill()
    assert others is not None
    assert others * seconds * (os.cpu_count() or 1) > 0.1


def test_shares_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten seconds on four cores: 16 of 40 core seconds were worked, six of them here."""
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    monkeypatch.setattr("os.getloadavg", lambda: (1.5, 2.0, 3.0))
    values = {
        "monotonic": iter((100.0, 110.0)),
        "own": iter((2.0, 8.0)),
        "busy": iter((50.0, 66.0)),
    }
    monkeypatch.setattr("time.monotonic", lambda: next(values["monotonic"]))
    monkeypatch.setattr(load, "cpu_seconds", lambda: next(values["own"]))
    monkeypatch.setattr(load, "busy_seconds", lambda: next(values["busy"]))
    found = LoadMeter().read()
    assert (found.start, found.end) == (1.5, 1.5)
    assert found.others == pytest.approx(10 / 40)


def test_the_first_line_of_proc_stat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sysconf", lambda name: 100)
    monkeypatch.setattr(Path, "read_text", lambda path: STAT)
    assert busy_seconds() == pytest.approx((1000 + 100 + 500 + 30 + 20 + 50) / 100)


@pytest.mark.parametrize(
    "text", ["", "cpu 1 2\n", "cpu 0 0 0 9 0 0 0 0 0 0\n", "x 1 1 1 1 1 1 1 1\n"]
)
def test_where_the_system_does_not_tell_nothing_is_said(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown() -> None:
        raise OSError

    monkeypatch.setattr(Path, "read_text", lambda path: text)
    monkeypatch.setattr("os.getloadavg", unknown)
    assert busy_seconds() is None
    assert load_average() is None
    found = LoadMeter().read()
    assert (found.start, found.end, found.others) == (None, None, None)
