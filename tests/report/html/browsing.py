"""Pages in headless Chromium. Nothing here waits without an end."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Timer
from typing import Any

import pytest

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
PATIENCE = 60_000.0
"""Milliseconds that anything in a browser may take before it is an error."""


IN_A_BROWSER = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH"),
    pytest.mark.xdist_group("page"),
]


@contextmanager
def chromium() -> Iterator[Any]:
    """Start a browser; it and playwright's driver have ended afterwards, whatever happened."""
    playwright = pytest.importorskip("playwright.sync_api")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    before = _children()
    started = playwright.sync_playwright().start()
    drivers = _children() - before
    try:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=flags, timeout=PATIENCE)
        yield browser
    finally:
        # A driver that does not end when it is asked to is killed; its browser goes with it.
        watchdog = Timer(PATIENCE / 1000, _kill, [drivers])
        watchdog.daemon = True
        watchdog.start()
        try:
            started.stop()
        finally:
            watchdog.cancel()


def _children() -> set[int]:
    """The processes that this one has started and that are there; none where no /proc says so."""
    lists = Path("/proc/self/task").glob("*/children")
    return {int(pid) for children in lists for pid in children.read_text().split()}


def _kill(processes: Iterable[int]) -> None:
    for pid in processes:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


class Opened:
    """A page in a browser, with what it asked of the network and what it complained about."""

    def __init__(
        self, browser: Any, path: Path | str, *, width: int = 1200, **context: Any
    ) -> None:
        self.context = browser.new_context(
            viewport={"width": width, "height": 900}, **{"locale": "en-US", **context}
        )
        self.context.set_default_timeout(PATIENCE)
        self.context.set_default_navigation_timeout(PATIENCE)
        self.requests: list[str] = []
        self.complaints: list[str] = []
        try:
            self.page = self.context.new_page()
            self.page.on("request", lambda request: self.requests.append(request.url))
            self.page.on("console", lambda message: self.complaints.append(message.text))
            self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
            self.page.on("dialog", self._dismiss)
            self.page.goto(path if isinstance(path, str) else path.as_uri())
            self.page.wait_for_selector("body[data-drawn]")
        except BaseException:
            self.context.close()
            raise

    def _dismiss(self, dialog: Any) -> None:
        """One that nobody answers would hold the page, and whoever waits for it, for ever."""
        self.complaints.append(dialog.message)
        dialog.dismiss()

    def __enter__(self) -> Any:
        return self.page

    def __exit__(self, *error: object) -> None:
        self.context.close()

    def texts(self, selector: str) -> list[str]:
        return [re.sub(r"\s+", " ", text) for text in self.page.locator(selector).all_inner_texts()]
