"""The report of a run that goes on, in a browser: rows come in, and what was chosen stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.report.html.browsing import IN_A_BROWSER, Opened
from tests.session.watching import GoingRun, served

pytestmark = IN_A_BROWSER


def test_rows_come_in(browser: Any, tmp_path: Path) -> None:
    run = GoingRun(tmp_path)
    with served(run, []) as server:
        opened = Opened(browser, server.url)
        with opened as page:
            page.wait_for_selector(f"#live:has-text('0 of {len(run.document['nodes'])} nodes')")
            lines = page.locator("#table tbody tr")
            assert lines.count() == 1
            page.locator("#table thead button", has_text="size").first.click()
            page.fill("#filter", "f16")
            page.click("#language")
            page.locator("#runs summary").first.click()
            page.focus("#table thead button >> nth=1")
            focused = "document.activeElement.textContent"
            assert page.evaluate(focused) == "大小"
            run.write(rows=len(run.rows))
            page.wait_for_selector("#table tbody tr:nth-child(2)", state="attached")
            assert lines.count() == len(run.rows)
            # What was chosen: language, filter, order, focus, what is unfolded.
            assert page.evaluate("document.documentElement.lang") == "zh"
            assert page.input_value("#filter") == "f16"
            assert page.locator("#table tbody tr:visible").count() == 1
            assert page.locator("th[aria-sort=ascending]").inner_text().startswith("大小")
            assert page.evaluate(focused) == "大小"
            assert page.locator("#runs details[open]").count() == 1
            run.end()
            page.wait_for_selector("#live:has-text('运行已结束：已完成')")
            asked = len(opened.requests)
            page.wait_for_timeout(2500)
            assert len(opened.requests) == asked, "nobody asks of a run that has ended"
            assert {url.removeprefix(server.url) for url in opened.requests} == {
                "",
                "state",
                "part",
            }
            assert not opened.complaints


def test_a_server_that_has_gone(browser: Any, tmp_path: Path) -> None:
    run = GoingRun(tmp_path)
    with served(run, []) as server:
        opened = Opened(browser, server.url)
    with opened as page:
        page.wait_for_selector("#live:has-text('Nobody answers')")
        assert page.locator("#table tbody tr").count() == 1
