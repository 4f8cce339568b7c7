"""How the check of artifacts, and of an exported folder, is told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qpipe.core.store import Damage
    from qpipe.session.exported import Verification


def spoken(result: Verification) -> str:
    """Return lines for a person: what was found, what is proved, what is not."""
    from qpipe.report.numbers import size
    from qpipe.report.text import printable
    from qpipe.session.exported import CANNOT

    if not result.whole:
        count = len(result.problems)
        summary = f"{result.folder}: {count} problem{'s' if count > 1 else ''}"
        return "\n".join([*map(printable, result.problems), summary])
    lines = [f"{result.folder}: whole ({size(result.size_bytes)})", "proved:"]
    lines += [f"  {each}" for each in result.proved]
    lines += ["not proved:", *(f"  {printable(each)}" for each in (*result.unproved, *CANNOT))]
    return "\n".join(lines)


def record(result: Verification) -> dict[str, Any]:
    """Return the answer in JSON."""
    from qpipe.session.exported import CANNOT

    return {
        "folder": str(result.folder),
        "whole": result.whole,
        "files": result.files,
        "size_bytes": result.size_bytes,
        "problems": result.problems,
        "proved": result.proved,
        "not_proved": [*result.unproved, *CANNOT],
    }


def damage_spoken(read: Sequence[str], damaged: Sequence[Damage]) -> str:
    """Return lines for a person: each artifact that is damaged, then how many are whole."""
    lines = []
    for each in damaged:
        lines.append(f"{each.key[:12]}  {each.problem}")
        if each.moved_to:
            lines.append(f"{'':12}  moved to {each.moved_to}")
    whole = len(read) - len({each.key for each in damaged}.intersection(read))
    summary = f"{whole} of {len(read)} artifact(s) are whole"
    if damaged:
        summary += f", {len(damaged)} moved away; the next run that needs one makes it again"
    return "\n".join([*lines, summary])


def damage_record(store: str, read: Sequence[str], damaged: Sequence[Damage]) -> dict[str, Any]:
    """Return the answer on artifacts in JSON."""
    return {
        "store": str(Path(store).absolute()),
        "verified": len(read),
        "damaged": [
            {
                "key": each.key,
                "problem": each.problem,
                "moved_to": None if each.moved_to is None else str(each.moved_to),
            }
            for each in damaged
        ],
    }
