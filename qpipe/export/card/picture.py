"""card.png: size against loss, with intervals and the front, drawn for a page of any colour."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from qpipe.export.card.levels import Levels
from qpipe.report import numbers
from qpipe.report.html.data import interval
from qpipe.report.text import printable
from qpipe.results.comparison import ModelRow

_WIDTH, _HEIGHT, _SCALE = 680, 380, 2
_UNITS = (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))
# Okabe and Ito's colours on white: the picture brings its own ground, so that a dark page, too,
# shows it as it was drawn.
_INK, _SOFT, _RULE, _POINT, _FRONT = "#1b1f24", "#57606a", "#e4e7eb", "#0072b2", "#b34700"
_LONGEST = 24


def is_drawn(levels: Levels) -> bool:
    """Return whether there is anything to draw: two measured levels of different size."""
    return len({row.size_bytes for row in levels.rows if levels.score(row)}) > 1


def picture(levels: Levels) -> bytes:
    """Draw PNG of size and loss. The same figures give the same bytes with the same vl-convert."""
    import vl_convert

    spec = json.dumps(_spec(levels), allow_nan=False)
    image: bytes = vl_convert.vegalite_to_png(spec, scale=_SCALE, allowed_base_urls=[])
    return image


def alternative(levels: Levels) -> str:
    """Words for who does not see the picture: every point of it."""
    points = [
        f"{levels.named(row)} {numbers.size(row.size_bytes or 0)}, {levels.shown(row)}"
        for row in sorted(levels.rows, key=lambda row: row.size_bytes or 0)
        if levels.score(row)
    ]
    front = ", ".join(levels.named(row) for row in levels.front)
    return (
        f"Size of the file and {levels.key} of each: {'; '.join(points)}. No other is preferable "
        f"to: {front}."
    )


def _spec(levels: Levels) -> dict[str, Any]:
    name, unit = _unit(levels)
    points = [_point(levels, row, unit) for row in levels.rows if levels.score(row)]
    log = all(point["y"] > 0 for point in points) and str(levels.key).startswith("kld")
    for point in points:
        if log and point["low"] is not None:
            point["low"] = max(point["low"], point["y"] / 10)
    x = {
        "field": "x",
        "type": "quantitative",
        "title": f"size of the file ({name})",
        "axis": {"tickCount": 8, "labelOverlap": True},
        "scale": {"zero": False, "nice": True, "padding": 24},
    }
    y = {
        "field": "y",
        "type": "quantitative",
        "title": f"{printable(str(levels.key))} (less is better)"
        if _is_less_better(levels)
        else f"{printable(str(levels.key))} (more is better)",
        "scale": {"type": "log", "nice": False, "padding": 16} if log else {"zero": False},
    }
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "width": _WIDTH,
        "height": _HEIGHT,
        "data": {"values": points},
        "layer": [
            _line(x, y),
            _intervals(x, y),
            _points(x, y),
            _labels(x, y),
        ],
        "config": _config(),
    }


def _line(x: Mapping[str, Any], y: Mapping[str, Any]) -> dict[str, Any]:
    mark = {"type": "line", "color": _FRONT, "strokeDash": [5, 4], "opacity": 0.8}
    return {
        "transform": [{"filter": "datum.front"}],
        "mark": mark,
        "encoding": {"x": x, "y": y, "order": {"field": "x"}},
    }


def _intervals(x: Mapping[str, Any], y: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "transform": [{"filter": "datum.low !== null"}],
        "mark": {"type": "errorbar", "ticks": True, "color": _SOFT},
        "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}},
    }


def _points(x: Mapping[str, Any], y: Mapping[str, Any]) -> dict[str, Any]:
    colour = {"condition": {"test": "datum.front", "value": _FRONT}, "value": _POINT}
    shape = {"condition": {"test": "datum.front", "value": "circle"}, "value": "diamond"}
    return {
        "mark": {"type": "point", "filled": True, "size": 90, "opacity": 1},
        "encoding": {"x": x, "y": y, "color": colour, "shape": shape},
    }


def _labels(x: Mapping[str, Any], y: Mapping[str, Any]) -> dict[str, Any]:
    mark = {"type": "text", "align": "left", "dx": 8, "dy": -9, "fontSize": 12, "color": _INK}
    return {"mark": mark, "encoding": {"x": x, "y": y, "text": {"field": "name"}}}


def _point(levels: Levels, row: ModelRow, unit: int) -> dict[str, Any]:
    score = levels.score(row)
    assert score is not None
    low, high = interval(score)
    name = printable(levels.named(row))
    return {
        "name": name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…",
        "x": (row.size_bytes or 0) / unit,
        "y": score.value,
        "low": low,
        "high": high,
        "front": row in levels.front,
    }


def _unit(levels: Levels) -> tuple[str, int]:
    largest = max(row.size_bytes or 0 for row in levels.rows)
    return next(((name, unit) for name, unit in _UNITS if largest >= unit), _UNITS[-1])


def _is_less_better(levels: Levels) -> bool:
    score = next(score for row in levels.rows if (score := levels.score(row)))
    return score.better == "lower"


def _config() -> dict[str, Any]:
    axis = {
        "labelFontSize": 12,
        "titleFontSize": 13,
        "labelColor": _SOFT,
        "titleColor": _INK,
        "gridColor": _RULE,
        "domainColor": _SOFT,
        "tickColor": _SOFT,
        "titleFontWeight": 500,
    }
    return {
        "background": "#ffffff",
        "padding": 16,
        "font": "sans-serif",
        "axis": axis,
        "view": {"stroke": None},
    }
