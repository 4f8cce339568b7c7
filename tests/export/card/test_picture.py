"""card.png: drawn where there is anything to draw, and its words for who does not see it."""

from __future__ import annotations

from qpipe.export.card.picture import alternative, is_drawn, picture
from tests.export.card.contents import kld, levels, row

RANKED = levels(
    row("F16", 160, reference=True),
    row("Q8_0", 80, kld(0.001, 0.002)),
    row("Q4_1", 45, kld(0.2)),
    row("Q4_0", 40, kld(0.1)),
)


def test_the_same_figures_give_the_same_picture() -> None:
    image = picture(RANKED)
    assert image.startswith(b"\x89PNG\r\n\x1a\n")
    assert image == picture(RANKED)


def test_words_have_every_point() -> None:
    assert alternative(RANKED) == (
        "Size of the file and kld of each: Q4_0 40 B, 0.1000; Q4_1 45 B, 0.2000; Q8_0 80 B, "
        "0.00100. No other is preferable to: Q4_0, Q8_0."
    )


def test_one_point_and_none_are_no_picture() -> None:
    assert is_drawn(RANKED)
    assert not is_drawn(levels(row("Q8_0", 80, kld(0.001))))
    assert not is_drawn(levels(row("Q8_0", 80), row("Q4_0", 40)))
