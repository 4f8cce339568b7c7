"""The form of a report, by the name of the file that it goes to."""

from __future__ import annotations

from pathlib import Path

from qpipe.errors import UsageError, nearest

FORMATS = ("md", "csv", "json", "html", "published")
# What a file's name ends in, where it is not called as the form.
_ENDINGS = {"yaml": "published"}


def report_form(output: str | None, *, json: bool) -> str | None:
    """Return the form that the file ``output`` is named after; without one ``json`` if that is
    asked for, else None. Raises UsageError for a name that says none."""
    if output is None:
        return "json" if json else None
    suffix = Path(output).suffix.removeprefix(".")
    suffix = _ENDINGS.get(suffix, suffix)
    if suffix in FORMATS:
        return suffix
    hint = f"add --format {'|'.join(FORMATS)} ({nearest(suffix, FORMATS)})"
    raise UsageError(f"-o {output}: its name does not say which format; {hint}")
