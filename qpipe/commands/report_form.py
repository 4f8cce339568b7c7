"""The form of a report, by the name of the file that it goes to, and a report in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qpipe.errors import UsageError, nearest

if TYPE_CHECKING:
    from qpipe.session.runs import MergedRuns

FORMATS = ("md", "csv", "json", "html")

PUBLISHED = "published"
"""The form of a table for `qpipe repro`, which other files than reports have not."""

_ENDINGS = {"yaml": PUBLISHED}


def report_form(output: str | None, *, json: bool, forms: Sequence[str] = FORMATS) -> str | None:
    """Return the form, one of ``forms``, that the file ``output`` is named after; without one
    ``json`` if that is asked for, else None. Raises UsageError for a name that says none."""
    if output is None:
        return "json" if json else None
    suffix = Path(output).suffix.removeprefix(".")
    form = _ENDINGS.get(suffix, suffix)
    if form in forms:
        return form
    hint = f"add --format {'|'.join(forms)} ({nearest(suffix, forms)})"
    raise UsageError(f"-o {output}: its name does not say which format; {hint}")


def rendered(merged: MergedRuns, form: str, output: str | None) -> str:
    """Return a report in one of the forms. Raises UsageError for a table of several runs."""
    if form == PUBLISHED:
        from qpipe.published.of_run import table_of

        if len(merged.runs) != 1:
            raise UsageError("--format published: a table is of one run; name one")
        return table_of(merged.runs[0], Path(output or ".").absolute().parent)
    from qpipe.report import render

    return render.render(merged.comparison, form, title=merged.title, runs=merged.runs)
