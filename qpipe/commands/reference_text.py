"""Answers of `qpipe reference`, for people and as JSON."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from qpipe.commands.output import print_json, say
from qpipe.report import numbers, text


class ReferenceAnswer(NamedTuple):
    """An answer as lines and as JSON."""

    lines: Sequence[str]
    document: Mapping[str, Any]


def _export(args: argparse.Namespace) -> ReferenceAnswer:
    from qpipe.session.reference_files import export

    done = export.export(
        args.names,
        store=Path(args.store),
        runs=Path(args.runs),
        out=None if args.output is None else Path(args.output),
        with_text=not args.without_text,
        by=args.by,
        dry_run=args.dry_run,
        progress=_progress("written"),
    )
    verb = "would be written" if args.dry_run else "written"
    lines = []
    for each in done:
        lines += [
            f"{each.file}  {numbers.size(each.size)} ({each.size:,} bytes)  {verb}",
            *(f"  {line}" for line in text.pairs(_pairs(each.about)).splitlines()),
        ]
    if done and not args.dry_run:
        lines.append(
            "measure against it: qpipe run local model.source=QUANTIZED.gguf quantize=none "
            f"evaluate=kld run.reference={_path(done[0].file)}"
        )
    document = {"do": "export", "dry_run": args.dry_run, "files": [*export.records(done)]}
    return ReferenceAnswer(lines, document)


def _import(args: argparse.Namespace) -> ReferenceAnswer:
    from qpipe.core.events import NodeProgress
    from qpipe.session.reference_files import importing

    show = _progress("checked")

    def listen(event: object) -> None:
        if isinstance(event, NodeProgress):
            show(event.done, event.total)

    done = importing.import_file(args.names[0], store=Path(args.store), on_event=listen)
    again = ", there before" if done.cached else ""
    lines = [
        f"imported{again}: every byte is as it was written",
        text.pairs([("key", done.key), ("file", str(done.file)), *_pairs(done.about)]),
        "measure against it: qpipe run local model.source=QUANTIZED.gguf quantize=none "
        f"evaluate=kld run.reference={_path(done.file)}",
    ]
    document = {
        "do": "import",
        "key": done.key,
        "file": str(done.file),
        "cached": done.cached,
        "about": done.about.model_dump(mode="json"),
    }
    return ReferenceAnswer(lines, document)


def _show(args: argparse.Namespace) -> ReferenceAnswer:
    from qpipe.session.reference_files import importing

    said = importing.described(Path(args.names[0]))
    size = f"{numbers.size(said.size)} ({said.size:,} bytes), {len(said.tensors)} tensors"
    file = shlex.quote(str(said.path))
    unread = f"not checked: only the header was read; `qpipe verify {file}` reads every byte"
    pairs = [("file", str(said.path)), ("size", size), *_pairs(said.about), ("data", unread)]
    lines = [text.pairs(pairs)]
    document = {
        "do": "show",
        "file": str(said.path),
        "size_bytes": said.size,
        "data_checked": False,
        "about": said.about.model_dump(mode="json"),
        "tensors": [
            {"name": span.name, "dtype": span.dtype, "shape": [*span.shape], "bytes": span.size}
            for span in said.tensors.values()
        ],
    }
    return ReferenceAnswer(lines, document)


def verified(file: str, *, as_json: bool) -> int:
    """Say whether every byte of a reference file is as it was written; return 1 if not."""
    from qpipe.session.reference_files import checking

    done = checking.check(Path(file), progress=_progress("read"))
    whole = f"{file}: whole ({numbers.size(done.size)}): every byte is as it was written"
    who = "not proved: who measured, and that the figures are what the model gives"
    fields = {"file": file, "whole": not done.problem, "size_bytes": done.size}
    if as_json:
        print_json("verify-file/1", {**fields, "problem": done.problem})
    else:
        say(done.problem or f"{whole}\n{who}")
    return 1 if done.problem else 0


def _size(args: argparse.Namespace) -> ReferenceAnswer:
    from qpipe.session.reference_files import forecast

    foreseen = forecast.foresee(
        args.names[0],
        name=args.protocol,
        n_ctx=args.n_ctx,
        chunks=args.chunks,
        text=args.text,
        store=Path(args.store),
    )
    least = "at most " if foreseen.at_most else ""
    lines = [
        f"vocabulary of {foreseen.n_vocab:,}; {foreseen.protocol}: {least}"
        f"{foreseen.tokens_scored:,} tokens scored in {foreseen.windows:,} windows",
        text.table(
            ("KEPT", "A TOKEN", "FILE"),
            [
                (
                    "all" if each.top_k is None else f"evaluate.top_k={each.top_k}",
                    f"{each.token_bytes:,} B",
                    numbers.size(each.size_bytes),
                )
                for each in foreseen.sizes
            ],
            right="lrr",
        ),
    ]
    return ReferenceAnswer(lines, {"do": "size", **asdict(foreseen)})


ANSWERS: Mapping[str, Callable[[argparse.Namespace], ReferenceAnswer]] = {
    "export": _export,
    "import": _import,
    "show": _show,
    "size": _size,
}


def _pairs(about: Any) -> list[tuple[str, str]]:
    """Pairs of words on a file's content, a line each; ``about`` is its `FileAbout`."""
    model, words, protocol = about.model, about.text, about.protocol
    stored, measured = about.stored, about.measured
    pinned = model.source if str(model.source).startswith("hf:") else None
    of = [model.format, pinned, model.licence and f"licence {model.licence}"]
    carried = "carried" if words.carried else "its digest alone"
    who = [measured.by, measured.backend, measured.machine.get("processor"), measured.date]
    arithmetic = measured.arithmetic or {}
    return [
        ("model", ", ".join([model.name, *(str(each) for each in of if each)])),
        ("text", f"{words.name}, {words.bytes:,} bytes, {carried}"),
        (
            "protocol",
            f"{protocol.name} version {protocol.version}, {protocol.windows:,} windows of "
            f"{protocol.n_ctx:,}, {protocol.scored:,} tokens scored",
        ),
        (
            "kept",
            f"{about.kept} tokens of each distribution, to {stored.error_nats:.1e} nats",
        ),
        ("computed", ", ".join(str(each) for each in who if each)),
        *([("arithmetic", ", ".join(arithmetic.values()))] if arithmetic else []),
    ]


def _path(file: Path) -> str:
    """A path that run.reference takes for one."""
    return shlex.quote(str(file))


def _progress(verb: str) -> Callable[[int, int | None], None]:
    """Show how much is done on a terminal, and leave nothing behind."""
    if not sys.stderr.isatty():
        return lambda done, total: None

    def show(done: int, total: int | None) -> None:
        end = "\r\033[K" if done == total else ""
        of = f" of {numbers.size(total)}" if total else ""
        print(f"\r{verb} {numbers.size(done)}{of}\033[K", end=end, file=sys.stderr, flush=True)

    return show
