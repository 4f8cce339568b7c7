"""`qpipe repro --lint`, and what is said of a table that contradicts itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qpipe.published.load import shipped_tables
from tests.cli import called

SHIPPED = "llamacpp-quantize-llama-3.1-8b"


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A table that ships, with one number broken."""
    text = shipped_tables()[SHIPPED].read_text()
    path = tmp_path / "broken.yaml"
    path.write_text(text.replace("size: 4.58", "size: 4.85"))
    return path


def test_a_broken_number_is_found_with_its_line(broken: Path) -> None:
    said = called("repro", str(broken), "--lint", cwd=broken.parent)
    assert said.code == 1
    line = next(n for n, text in enumerate(broken.read_text().splitlines(), 1) if "4.85" in text)
    assert f"broken.yaml:{line}: row 19 (Q4_K_M), size: 4.85 GiB" in said.stdout
    assert said.stdout.endswith("broken: 2 new contradictions (3 known from its errata)\n")


def test_known_errors_are_shown_and_are_no_failure(broken: Path) -> None:
    said = called("repro", SHIPPED, "--lint", "--json", cwd=broken.parent)
    assert said.code == 0
    (table,) = json.loads(said.stdout)["tables"]
    kinds = [(each["kind"], each["format"], each["known"]) for each in table["findings"]]
    assert kinds == [
        ("copied_speeds", "IQ4_NL", True),
        ("missing_row", "Q3_K_S", True),
        ("duplicate_row", "Q4_K_S", True),
    ]


def test_a_run_says_that_its_table_contradicts_itself(broken: Path) -> None:
    said = called("repro", str(broken), "--only", "sizes", cwd=broken.parent)
    assert said.code == 4
    assert "broken.yaml contradicts itself: row 19 (Q4_K_M); --lint says how" in said.stderr
    assert "off: Q4_K_M size" in said.stdout


def test_a_table_that_ships_is_not_spoken_of(broken: Path) -> None:
    said = called("repro", SHIPPED, "--only", "sizes", cwd=broken.parent)
    assert (said.code, "contradicts" in said.stderr) == (0, False)
