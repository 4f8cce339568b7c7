"""A reproduction as one HTML file in the report's form: nothing from the network, no script."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from qpipe import __version__
from qpipe.published import cells as words
from qpipe.published.cells import HEAD, SIDES, ModelGroup, cells
from qpipe.published.load import TableFile
from qpipe.published.reproduction import ReproducedValue, Reproduction
from qpipe.report.html.page import style
from qpipe.report.text import printable

# The verdict stands where no width hides it.
_ORDER = (0, 1, 6, 2, 3, 4, 5)

_OWN_STYLE = """
.reproduced { color: var(--good); }
.off { color: var(--bad); font-weight: 700; }
.not_comparable, .cannot_run, .would_run { color: var(--soft); }
td.why { white-space: normal; min-width: 18rem; }
"""


def page(reproduction: Reproduction) -> str:
    """Return the whole file; every word of a table is escaped."""
    tables = {str(file.path): file for file in reproduction.tables}
    titles = ", ".join(file.table.title for file in tables.values())
    title = titles if len(tables) == 1 else f"{len(tables)} published tables"
    groups = words.grouped(reproduction.rows)
    sections = "\n".join(
        _section(file, [g for g in groups if g.file is file]) for file in tables.values()
    )
    notes = "\n".join(f"<li>{_text(line)}</li>" for line in _notes(reproduction))
    facts = _list(list(words.facts(reproduction).items()))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{_text(title)}</title>
<style>
{style()}{_OWN_STYLE}</style>
</head>
<body>
<header><div>
<h1>{_text(title)}</h1>
<p class="soft">{_text(words.summary(reproduction))}</p>
</div></header>
<main>
{sections}
<section><h2>What to know</h2>
<ul class="notes">
{notes}
</ul>
</section>
<section><h2>How ours came about</h2>
{facts}
{_recipes(reproduction.rows)}
</section>
</main>
<footer class="soft">qpipe {escape(__version__)}</footer>
</body>
</html>
"""


def _section(file: TableFile, groups: Sequence[ModelGroup]) -> str:
    if not groups:
        return ""
    source = file.table.source
    facts = [
        ("document", source.document),
        ("authors", source.authors or ""),
        ("revision", source.revision or "no revision: its text may change"),
        ("date", source.date or ""),
        ("address", source.url or ""),
        ("note", " ".join(filter(None, [source.note, file.table.note]))),
        *(("erratum", erratum.says) for erratum in file.table.errata),
    ]
    tables = "\n".join(_table(group) for group in groups)
    listed = _list([(name, of) for name, of in facts if of])
    return f"<section>\n<h2>{_text(file.table.title)}</h2>\n{listed}\n{tables}\n</section>"


def _table(group: ModelGroup) -> str:
    head = "".join(
        f'<th scope="col"{_side(side)}>{name}</th>'
        for name, side in [*((HEAD[at], SIDES[at]) for at in _ORDER), ("why", "l")]
    )
    lines = "\n".join(_line(row) for row in group.rows)
    label = _text(group.model or "models")
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{label}">\n'
        f"<table><caption>{label}</caption>\n<thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{lines}\n</tbody></table>\n</div>"
    )


def _line(row: ReproducedValue) -> str:
    own = cells(row)
    classes = {HEAD.index("verdict"): f' class="{row.word}"'}
    cols = "".join(
        f"<td{classes.get(at, _side(SIDES[at]))}>{_text(own[at])}</td>" for at in _ORDER[1:]
    )
    why = "" if row.word == "reproduced" else row.verdict.why
    return f'<tr><th scope="row">{_text(own[0])}</th>{cols}<td class="why">{_text(why)}</td></tr>'


def _notes(reproduction: Reproduction) -> Iterator[str]:
    rows = reproduction.rows
    yield from (words.off_line(row) for row in rows if row.word == "off")
    yield from filter(None, (*words.marks(rows), words.tolerances(rows)))


def _recipes(rows: Sequence[ReproducedValue]) -> str:
    """The recipe, overrides and artifact behind each figure."""
    lines = "\n".join(
        f'<tr><th scope="row">{_text(row.published.value.row.format)}</th>'
        f"<td>{_text(row.published.value.name)}</td>"
        f"<td>{_text(' '.join([row.recipe or '', *row.overrides]))}</td>"
        f"<td>{_text(row.verdict.ours.key or '' if row.verdict.ours else '')}</td></tr>"
        for row in rows
        if row.recipe
    )
    if not lines:
        return ""
    return f"""<details>
<summary>Recipes, overrides and keys</summary>
<div class="scroll" role="region" tabindex="0" aria-label="Recipes">
<table><thead><tr><th scope="col">format</th><th scope="col">metric</th>
<th scope="col">recipe</th><th scope="col">key</th></tr></thead><tbody>
{lines}
</tbody></table>
</div>
</details>"""


def _list(facts: Sequence[tuple[str, str]]) -> str:
    lines = "\n".join(f"<dt>{_text(name)}</dt><dd>{_text(of)}</dd>" for name, of in facts)
    return f"<dl>\n{lines}\n</dl>"


def _side(side: str) -> str:
    return ' class="r"' if side == "r" else ""


def _text(words: str) -> str:
    return escape(printable(words))
