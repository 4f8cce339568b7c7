"""A comparison as one HTML page that needs nothing else: light and dark, narrow and wide."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from qpipe import __version__
from qpipe.report.table import RIGHT, Table
from qpipe.results.comparison import ModelRow

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
:root {{ --ink: #1c2024; --paper: #fff; --rule: #d5d9de; --soft: #5f6b76; --mark: #f3f6f9;
  --bad: #b3261e; --good: #1a7f4b; }}
@media (prefers-color-scheme: dark) {{ :root {{ --ink: #e6e9ec; --paper: #15181b; --rule: #363c43;
  --soft: #9aa5b1; --mark: #1e2328; --bad: #ff8a80; --good: #6fd09b; }} }}
body {{ font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 96rem; margin: 2rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.4rem; font-weight: 600; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .35rem .6rem; text-align: left; white-space: nowrap; }}
th {{ color: var(--soft); font-weight: 600; border-bottom: 2px solid var(--rule); }}
td {{ border-bottom: 1px solid var(--rule); }}
.r {{ text-align: right; }}
tr.reference td {{ background: var(--mark); font-weight: 600; }}
td.failed, td.skipped {{ color: var(--bad); }}
td.ran {{ color: var(--good); }}
ul, footer {{ color: var(--soft); font-size: .9rem; }}
</style>
</head>
<body>
<h1>{title}</h1>
<div class="wide">
<table>
<thead><tr>{head}</tr></thead>
<tbody>
{body}
</tbody>
</table>
</div>
<ul>
{notes}
</ul>
<footer>qpipe {version}. The reference is set in bold; Δ is the difference to it.</footer>
</body>
</html>
"""


def page(table: Table, title: str) -> str:
    """The whole HTML page of a comparison."""
    lines = zip(table.rows, table.body, strict=True)
    return _PAGE.format(
        title=escape(title),
        head="".join(
            f'<th scope="col"{_side(column.side)}>{escape(column.heading)}</th>'
            for column in table.columns
        ),
        body="\n".join(_line(row, line, table.sides) for row, line in lines),
        notes="\n".join(f"<li>{escape(line)}</li>" for line in table.footnotes),
        version=escape(__version__),
    )


def _line(row: ModelRow, line: Sequence[str], sides: str) -> str:
    tds = []
    for cell, side in zip(line, sides, strict=True):
        status = f' class="{cell}"' if cell == row.status else _side(side)
        tds.append(f"<td{status}>{escape(cell)}</td>")
    mark = ' class="reference"' if row.reference else ""
    return f"<tr{mark}>{''.join(tds)}</tr>"


def _side(side: str) -> str:
    return ' class="r"' if side == RIGHT else ""
