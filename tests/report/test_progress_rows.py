from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from qpipe.report.progress_rows import Region
from qpipe.report.run_state import Active

LEVEL = Active(
    "quantize[tinystories-d256 Q4_K_M]", 100.0, False, 40 << 20, 80 << 20, "bytes", "", 65.0
)


def rows(width: int, *active: Active, left: float | None = None, most: int = 12) -> list[str]:
    region = Region(active, nodes=21, ended=3, since=90.0, now=130.0, left=left)
    return [line.plain for line in region.rows(width, most)]


@pytest.mark.parametrize(
    ("width", "row"),
    [
        (
            110,
            "quantize[tinystories-d256 Q4_K_M]  ━━━━━━━━━━━━────────────"
            "  40.0 MiB of 80.0 MiB  about 1m05s to go  30.0 s",
        ),
        (88, "quantize[tinystories-d256 Q4_K_M]  40.0 MiB of 80.0 MiB  about 1m05s to go  30.0 s"),
        (80, "quantize[tinystories-d256 Q4_K_M]  ━━━━━━━━━──────────  50%  about 1m05s  30.0 s"),
        (60, "quantize[tinystories-d256 Q4_K_M]  50%  about 1m05s  30.0 s"),
        (50, "quantize[tinystories-d2…  50%  about 1m05s  30.0 s"),
    ],
)
def test_figures_win_over_bars(width: int, row: str) -> None:
    assert rows(width, LEVEL)[0] == row


def test_a_note_stands_for_the_amount() -> None:
    node = Active("quantize[Q4_K_M]", 129.0, note="compiling kernels")
    assert rows(80, node)[0].split("  ")[0] == "quantize[Q4_K_M]"
    assert "compiling kernels" in rows(80, node)[0]
    assert "compiling kernels" in rows(42, node)[0]


def test_the_whole_says_how_long_it_has_to_go() -> None:
    assert rows(80, LEVEL, left=600.0)[-1] == (
        "3 of 21 nodes · 1 running · 40.0 s · about 10m00s to go"
    )
    assert rows(40, LEVEL, left=600.0)[-1] == "3 of 21 nodes · about 10m00s to go"


def test_seconds_to_go_become_fewer_between_two_events() -> None:
    region = Region([LEVEL], 2, 0, 90.0, now=130.0, left=80.0).later(140.0)
    assert (region.active[0].left, region.left) == (55.0, 70.0)


NAMES = st.text(st.sampled_from("aZ0[]_ 故事\u0301…"), min_size=1, max_size=60)
NODES = st.builds(
    Active,
    NAMES,
    st.floats(0, 130),
    st.booleans(),
    st.integers(0, 1 << 40),
    st.integers(0, 1 << 40),
    st.sampled_from(["", "bytes", "tokens"]),
    st.sampled_from(["", "compiling kernels", "故事"]),
    st.none() | st.floats(0, 1e7),
)


@given(st.lists(NODES, max_size=6), st.integers(30, 130), st.none() | st.floats(0, 1e6))
def test_no_row_is_wider_than_the_terminal(
    active: list[Active], width: int, left: float | None
) -> None:
    lines = rows(width, *active, left=left, most=4)
    assert len(lines) == min(len(active), 4) + (len(active) > 4) + 1
    assert max(map(cell_len, lines)) <= width
    assert not any("\n" in line for line in lines)
