"""How an export is told: what was written, and the commands that use it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qpipe.session.export import ExportResult


def spoken(result: ExportResult) -> str:
    """Return lines for a person: files with their sizes, then commands."""
    from qpipe.report.numbers import size

    lines = [
        f"{size((result.folder / file.name).stat().st_size):>10}  {file.name}"
        for file in result.exported.files
    ]
    lines.append(f"written to {result.folder}")
    for words, command in result.exported.commands.items():
        lines += [f"{words}:", f"    {command}"]
    return "\n".join(lines)


def record(result: ExportResult) -> dict[str, Any]:
    """Return the answer in JSON."""
    return {
        "folder": str(result.folder),
        "target": result.target,
        "files": [
            {
                "name": file.name,
                "row": file.row,
                "size_bytes": (result.folder / file.name).stat().st_size,
            }
            for file in result.exported.files
        ],
        "commands": dict(result.exported.commands),
        "notes": list(result.notes),
        **result.exported.more,
    }
