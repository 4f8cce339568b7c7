"""The HTML report in a browser, from disk: wide and narrow, light and dark."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qpipe.report.render import render
from qpipe.results.comparison import Comparison
from tests.report.html.browsing import IN_A_BROWSER, Opened
from tests.report.html.sweeps import LEVELS, run_of, sweep

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>{{title}}"

pytestmark = IN_A_BROWSER


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "three models.html"
    made = sweep({"tiny": 10**9, "small": 3 * 10**9, HOSTILE: 8 * 10**9})
    text = render(made, "html", title=f"a & b {HOSTILE}", runs=[run_of(made)])
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("width", "scheme", "locale"),
    [
        (1200, "light", "en-US"),
        (1200, "dark", "zh-CN"),
        (375, "light", "zh-CN"),
        (375, "dark", "en-US"),
    ],
)
def test_it_opens_anywhere(
    browser: Any, report: Path, width: int, scheme: str, locale: str
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    opened = Opened(browser, report, width=width, color_scheme=scheme, locale=locale)
    with opened as page:
        assert page.evaluate("document.documentElement.lang") == locale[:2]
        assert page.evaluate("document.documentElement.scrollWidth") <= width, "nothing off-screen"
        violations = axe.run(page).response["violations"]
        assert not [(each["id"], each["nodes"][0]["html"]) for each in violations]
        assert opened.requests == [report.as_uri()]
        assert not opened.complaints


def test_the_table_sorts_and_filters(browser: Any, report: Path) -> None:
    opened = Opened(browser, report)
    with opened as page:
        table = page.locator("#table table").first
        names = [*LEVELS, "F16"]
        by_size = sorted(names, key=lambda name: LEVELS.get(name, (16.0, 0))[0])
        for order in (by_size, by_size[::-1]):
            table.get_by_role("button", name="size").click()
            shown = opened.texts("#table tbody >> nth=0 >> th")
            assert [text.rstrip(" ◆") for text in shown] == order
        page.fill("#filter", "q4_k small")
        assert page.locator("#table tbody tr:visible").count() == 1
        assert "1 of 27" in page.inner_text("#count")
        page.click("#all")
        assert page.locator("#table tbody tr:visible").count() == 27


def test_a_click_on_a_point_shows_its_row(browser: Any, report: Path) -> None:
    with Opened(browser, report) as page:
        page.locator("path[aria-label^='Q4_0 · small,']").first.click()
        assert page.locator("#table tbody tr:visible").count() == 1
        assert page.locator("#table tbody tr:visible th").inner_text().startswith("Q4_0")
        page.locator("#table tbody tr:visible th button").click()
        assert page.locator("#table tbody tr:visible").count() == 27


def test_the_pick_says_which_and_why(browser: Any, report: Path) -> None:
    opened = Opened(browser, report)
    with opened as page:
        page.select_option("#score", "kld")
        page.fill("#bound-score", "0.03")
        answers = opened.texts("#pick .answer")
        assert answers[1] == "IQ4_XS · tiny"
        page.select_option("#model", "small")
        page.fill("#bound-score", "0.03")
        assert opened.texts("#pick .answer")[1] == "IQ4_XS · small"
        page.select_option("#model", "tiny")
        page.fill("#bound-size", "0.6")
        assert opened.texts("#pick .answer")[0] == "Q4_K_M · tiny"
        assert "the best of the" in page.inner_text("#pick")
        page.fill("#bound-size", "0.01")
        assert opened.texts("#pick .answer")[0] == "none of them"
        assert "Q2_K" in page.inner_text("#pick"), "the closest is named"


def test_the_types_of_tensors_as_a_picture(browser: Any, report: Path) -> None:
    with Opened(browser, report) as page:
        page.select_option("#level", "Q4_K_M · small")
        table = page.locator("#tensors table")
        assert table.locator("thead th").all_inner_texts()[:4] == ["matrix", "–", "0", "1"]
        line = table.locator("tr", has=page.get_by_role("rowheader", name="ffn_down"))
        cells = line.locator("td").all_text_contents()
        assert cells[1:5] == 2 * ["AQ4_K, relative error 3.35 %", "BQ6_K, relative error 3.35 %"]
        assert cells[5] == "3.35 %"
        line.locator("td").nth(2).hover()
        about = "ffn_down, layer 1: Q6_K, relative error 3.35 %, 4096 × 4096"
        assert page.inner_text("#tensors output") == about


def test_what_the_model_loses_as_a_picture(browser: Any, report: Path) -> None:
    with Opened(browser, report) as page:
        assert page.input_value("#swapped") == "Q4_K"
        assert page.inner_text("#sensitivity").count("ffn_down, layer 0 (0.0527)") == 1
        table = page.locator("#sensitivity table")
        assert table.locator("thead th").all_inner_texts() == [
            *("matrix", "–", "0", "1", "2", "3", "sum")
        ]
        line = table.locator("tr", has=page.get_by_role("rowheader", name="ffn_down"))
        cells = line.locator("td").all_text_contents()
        assert cells[1:3] == ["7KL divergence 0.0527", "6KL divergence 0.022"]
        page.select_option("#swapped", "Q2_K")
        line.locator("td").nth(1).hover()
        about = "ffn_down, layer 0, Q2_K: KL divergence 0.735"
        assert page.inner_text("#sensitivity output") == about
        page.click("#language")
        assert "KL 散度 0.735" in page.locator("#sensitivity").text_content()


def test_a_telephone_shows_layers_downwards(browser: Any, report: Path) -> None:
    with Opened(browser, report, width=375, has_touch=True) as page:
        page.select_option("#level", "Q2_K · small")
        table = page.locator("#tensors table")
        assert table.bounding_box()["width"] < 345
        layers = table.locator("tbody th").all_inner_texts()
        assert layers == ["error (RMS)", "–", "0", "1", "2", "3"]
        table.locator("tbody tr").nth(2).locator("td").last.tap()
        assert page.inner_text("#tensors output").startswith("ffn_down, layer 0: Q2_K")
        boxes = page.locator(".graph .box").all()
        assert max(box.bounding_box()["width"] for box in boxes) < 345


def test_the_graph_is_a_picture(browser: Any, report: Path) -> None:
    with Opened(browser, report) as page:
        assert page.locator(".graph svg path").count() > 10
        box = page.locator(".graph .box", has_text="quantize").first
        assert "8 ran" in box.inner_text()


def test_any_score_goes_up(browser: Any, report: Path) -> None:
    with Opened(browser, report) as page:
        for score in ("ppl", "tg"):
            page.select_option("#up", score)
            page.wait_for_selector(f"#charts h2:has-text('{score} against size')")
            page.wait_for_selector(f"#charts [aria-label^='{score} against size']")
        page.select_option("#score", "kld")
        page.wait_for_selector("#charts h2:has-text('kld against size')")


def test_by_keyboard_alone(browser: Any, report: Path) -> None:
    with Opened(browser, report) as page:
        page.locator("#table tbody th button").first.focus()
        page.keyboard.press("Enter")
        assert page.locator("#table tbody tr:visible").count() == 1
        page.focus("#language")
        page.keyboard.press("Enter")
        page.wait_for_selector("text=选哪一个")


def test_what_a_model_is_called_is_no_html(report: Path) -> None:
    text = report.read_text(encoding="utf-8")
    assert "<img src=x" not in text
    assert text.count("<script") == 3
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    assert found is not None
    assert HOSTILE in json.loads(found[1])["models"]


def test_both_languages_have_all_words() -> None:
    from importlib.resources import files

    words = json.loads(files("qpipe.report.html").joinpath("words.json").read_text("utf-8"))
    assert words["en"].keys() == words["zh"].keys()
    for key, english in words["en"].items():
        blanks = set(re.findall(r"\{\w+\}", english))
        assert blanks == set(re.findall(r"\{\w+\}", words["zh"][key])), key


def test_two_hundred_rows(browser: Any, tmp_path: Path) -> None:
    """Of models of eighty layers, whose names are as bad as can be."""
    names = (f"\u202eevil<b>{HOSTILE}</b>", '模型🦙 & "quote"', "x" * 120)
    made = sweep({f"{names[n % 3]} {n}": 10**9 * (n + 1) for n in range(23)})
    rows = [replace(row, notes=("a note " * 20,)) for row in made.rows]
    path = tmp_path / "many.html"
    made = Comparison.of(rows)
    text = render(made, "html", runs=[run_of(made, layers=80)])
    path.write_text(text, encoding="utf-8")
    assert path.stat().st_size < 5_000_000
    assert "\u202e" not in text, "nothing turns the text around"
    for width in (1200, 375):
        opened = Opened(browser, path, width=width)
        with opened as page:
            assert page.locator("#table tbody tr").count() == len(rows) > 200
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.locator("#tensors tbody tr").count() >= (8 if width > 600 else 81)
            assert not opened.complaints
            assert opened.requests == [path.as_uri()]
