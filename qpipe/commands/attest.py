"""`qpipe attest FILE.gguf… --source MODEL`: published files beside what their source makes of
them."""

from __future__ import annotations

import argparse

from qpipe.commands.output import print_json, say, width
from qpipe.commands.parser import add_json, add_store


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    """Add ``FILE…``, ``--source``, ``--imatrix``, ``--json``, ``--store`` and ``--quiet``."""
    add = parser.add_argument
    add(
        "files",
        metavar="FILE",
        nargs="+",
        help="a GGUF file, a folder of such, or OWNER/NAME@COMMIT/FILE.gguf; all are compared in "
        "one pass over the source",
    )
    add(
        "--source",
        metavar="MODEL",
        required=True,
        help="what they are said to be made of: a checkpoint's folder, a GGUF file in half "
        "precision, or OWNER/NAME@COMMIT",
    )
    add(
        "--imatrix",
        metavar="FILE",
        help="the importance matrix that they were made with (default: the one that each notes, "
        "beside it, in the source's folder or in its repository)",
    )
    add_json(parser)
    add_store(parser)
    add("-q", "--quiet", action="store_true", help="no progress, only the answer")


def run(args: argparse.Namespace) -> int:
    """Print a verdict on each file; return 0 if all tensors of all are identical, 4 if any is not,
    6 if some could not be compared."""
    from qpipe.commands import attest_text
    from qpipe.commands.progress import progress_line
    from qpipe.session.attesting.function import attest

    with progress_line(quiet=args.quiet) as line:
        answer = attest(
            *args.files,
            source=args.source,
            imatrix=args.imatrix,
            store=args.store,
            progress=lambda done, total, unit: line.share(attest_text.doing(unit), done, total),
        )
    if args.json:
        print_json("attest/1", answer.record())
    else:
        say(attest_text.document(answer, width()))
    return answer.exit_code
