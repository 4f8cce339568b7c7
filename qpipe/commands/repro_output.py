"""What `qpipe repro` prints and writes: verdicts, contradictions, progress."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qpipe.commands.output import print_json, say, width
from qpipe.commands.report_form import report_form
from qpipe.errors import UsageError

if TYPE_CHECKING:
    from qpipe.core.events import Emit
    from qpipe.published.reproduction import Reproduction
    from qpipe.session.context import Notify
    from qpipe.session.reproducing.question import Question


def form(args: argparse.Namespace) -> str | None:
    """Return the form of the answer; None: a table for people. Raises UsageError."""
    chosen: str | None = args.format or report_form(args.output, json=args.json)
    return chosen


def refuse(args: argparse.Namespace) -> None:
    """Raise UsageError for options that do not go together, and for a bundle's folder that is not
    empty."""
    if args.bundle is not None:
        from qpipe.session.reproducing.bundle import refuse

        if args.plan:
            raise UsageError("--bundle: a plan has no results to bundle; leave --plan out")
        refuse(Path(args.bundle))


@contextlib.contextmanager
def progress(args: argparse.Namespace) -> Iterator[tuple[Notify, Sequence[Emit]]]:
    """Show notes and a run's progress on stderr, unless ``--quiet`` is given."""
    from qpipe.report.live import Live

    def notify(note: str) -> None:
        if not args.quiet:
            say(f"qpipe: {note}", file=sys.stderr)

    if args.plan or args.only == "sizes":
        yield notify, ()
        return
    live = Live(quiet=args.quiet)
    try:
        yield notify, (live,)
    finally:
        live.close()


def show(answer: Reproduction, asked: Question, args: argparse.Namespace, form: str | None) -> None:
    """Print or write the answer. Raises StoreError where it cannot be written."""
    from qpipe.published import render
    from qpipe.published.reproduction import SCHEMA, document

    if args.bundle is not None:
        from qpipe.session.reproducing import bundle

        bundle.write(Path(args.bundle), answer, asked, Path(args.store))
        say(f"bundled in {args.bundle}", file=sys.stderr)
    if args.output is not None:
        from qpipe.session.runs import write_report

        write_report(Path(args.output), render.render(answer, form or "md"))
        say(f"written to {args.output}", file=sys.stderr)
    if args.json:
        print_json(f"repro/{SCHEMA}", document(answer))
    elif args.output is not None or form is None:
        render.to_terminal(answer, sys.stdout, width())
    else:
        sys.stdout.write(render.render(answer, form))


def warn(asked: Question, notify: Notify) -> None:
    """Say of a table that does not ship, and so may be new, if it contradicts itself."""
    from qpipe.published.load import shipped_tables

    shipped = set(shipped_tables().values())
    for file in asked.files:
        if file.path in shipped:
            continue
        from qpipe.published.lint import lint as findings_of

        if new := [finding for finding in findings_of(file) if not finding.known]:
            places = ", ".join(dict.fromkeys(f"row {each.row} ({each.format})" for each in new[:5]))
            notify(f"{file.path} contradicts itself: {places}; --lint says how")


def lint(tables: Sequence[str], *, json: bool) -> int:
    """Print the contradictions of tables; return 1 if any is not among their errata."""
    from qpipe.published.lint import answer, text
    from qpipe.published.lint import lint as findings_of
    from qpipe.session.reproducing.question import files_of

    found = [(file, findings_of(file)) for file in files_of(tables)]
    if json:
        print_json("lint/1", answer(found))
    else:
        for file, findings in found:
            say(text(file, findings))
    return int(any(not each.known for _, findings in found for each in findings))
