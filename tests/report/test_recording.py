"""The whole life of a small sweep on a terminal."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli import environment
from tests.terminal import Screen, record

pytestmark = pytest.mark.slow

SWEEP = (
    *("run", "local", "-m", "model.source=builtin:tinystories-d256", "quantize.type=Q8_0,Q4_K_M"),
    *("evaluate.chunks=2", "evaluate.n_ctx=256"),
)


@pytest.mark.parametrize("width", [80, 60])
def test_a_sweep_from_its_first_line_to_its_table(width: int, tmp_path: Path) -> None:
    env = {k: v for k, v in environment().items() if k not in ("COLUMNS", "LINES")}
    code, written = record(SWEEP, width=width, cwd=tmp_path, env=env)
    assert code == 0, written
    screen = Screen(width)
    screen.feed(written)

    assert screen.other == [], "only lines are erased, never the screen"
    region = re.compile(r"(\w+\[.*\] .* \d\S* s|\d+ of \d+ nodes · .*)\s*")
    drawn = [line for line in screen.written if region.fullmatch(line)]
    assert drawn, "the region was drawn"
    assert max(screen.erased) <= 4, "no more than what goes on, and the line below"
    going_on = Screen(width)
    going_on.feed(written.partition("done: ")[0])
    assert going_on.too_long == []
    if width >= 80:  # tables are laid out for 80 columns
        links = ("model: /", "report: /")
        assert [line for line in screen.too_long if not line.startswith(links)] == []
    assert any(re.search(r"quantize\[.*Q8_0 and Q4_K_M.*\]", line) for line in drawn), "one a pass"

    shown = [line for line in screen.lines if line.strip()]
    ran = [line for line in shown if line.startswith("ran ")]
    assert len(ran) == len(set(ran)) == 9, "each node once"
    assert not [line for line in shown if "running" in line], "the region is gone"
    done = next(n for n, line in enumerate(shown) if line.startswith("done: 9 nodes, 9 ran"))
    table = "\n".join(shown[done:])
    for level in ("F16", "Q8_0", "Q4_K_M"):
        assert re.search(rf"^ *{level} +\S+ MiB", table, re.MULTILINE), table
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h"), "the cursor is shown again"
