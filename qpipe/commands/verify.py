"""`qpipe verify [KEY|FOLDER|FILE]`: read every byte again, of artifacts, an exported folder or a
reference file."""

from __future__ import annotations

import argparse

from qpipe.commands.output import print_json, say
from qpipe.commands.parser import add_json, add_store


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    """Add ``[KEY|FOLDER|FILE]``, ``--json`` and ``--store``."""
    what = "digits of a key (default: all); or a folder that was exported, or a reference file"
    parser.add_argument("key", metavar="KEY|FOLDER|FILE", nargs="?", help=what)
    add_json(parser)
    add_store(parser)


def run(args: argparse.Namespace) -> int:
    """Verify artifacts, an exported folder or a reference file; return 1 if anything is not as it
    was."""
    from qpipe.session import exported

    if args.key and exported.is_reference_file(args.key):
        from qpipe.commands import reference_text

        return reference_text.verified(args.key, as_json=args.json)
    if args.key and exported.is_export(args.key):
        from qpipe.commands import verify_text
        from qpipe.commands.progress import progress_line

        with progress_line() as line:
            result = exported.verify(args.key, progress=line.of("reading"))
        if args.json:
            print_json("verify-folder/1", verify_text.record(result))
        else:
            say(verify_text.spoken(result))
        return 0 if result.whole else 1
    return _artifacts(args, exported.key_of(args.key))


def _artifacts(args: argparse.Namespace, key_given: str | None) -> int:
    from qpipe.commands.progress import progress_line
    from qpipe.commands.verify_text import damage_record, damage_spoken
    from qpipe.session.store import Store

    read: list[str] = []
    with progress_line() as line:

        def show(key: str, number: int, of: int) -> None:
            read.append(key)
            line.show(f"reading {number}/{of}  {key[:12]}")

        damaged = Store(args.store).verify(key_given, on_key=show)
    if args.json:
        print_json("verify/1", damage_record(args.store, read, damaged))
    else:
        say(damage_spoken(read, damaged))
    return 1 if damaged else 0
