"""`qpipe advise MODEL`: which format, engine and command for a model, a machine and a need."""

from __future__ import annotations

import argparse
import sys

from qpipe.commands.output import print_json, say, width
from qpipe.commands.parser import add_json, add_store


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    """Add ``MODEL``, the machine, the needs, ``--pages``, ``--json`` and ``--store``."""
    add = parser.add_argument
    add("model", metavar="MODEL", nargs="?", help="a folder, a config.json, or OWNER/NAME")
    add("--gpu", metavar="CARD", help="24GB, RTX 4090, 2x H100, M3 Max 64GB, none (default: here)")
    add("--ram", metavar="SIZE", help="32GB (default: this machine's, unless --gpu is given)")
    add("--runtime", metavar="NAME", help="ollama, llama.cpp, vllm, exllama or transformers")
    add("--ctx", metavar="N", help="tokens of context (default: 8192)")
    add("--batch", metavar="N", help="requests at once (default: 1)")
    add("--min-quality", metavar="BOUND", help="kld=0.02, ppl=1%% or accuracy=99%%")
    add("--min-speed", metavar="N", help="tokens a second of a request, at least")
    add("--prefer", metavar="WHAT", help="balanced (default), quality, size or speed")
    add("--offline-cpu", action="store_true", help="on the CPU alone, without a network")
    add("--pages", metavar="DIR", help="write choosing.md and its Chinese twin into this folder")
    add_json(parser)
    add_store(parser)


def run(args: argparse.Namespace) -> int:
    """Print the rows, best first, or write the pages. Raises UsageError for what means nothing or
    contradicts itself."""
    from qpipe.commands import advise_text
    from qpipe.errors import UsageError
    from qpipe.session.advising import pages
    from qpipe.session.advising.function import advise

    if args.pages is not None:
        say("\n".join(map(str, pages.write(args.pages))), file=sys.stderr)
        return 0
    if args.model is None:
        raise UsageError("MODEL is missing: give a folder, a config.json, or OWNER/NAME")
    answer = advise(
        args.model,
        gpu=args.gpu,
        ram=args.ram,
        runtime=args.runtime,
        ctx=args.ctx,
        batch=args.batch,
        min_quality=args.min_quality,
        min_speed=args.min_speed,
        offline_cpu=args.offline_cpu,
        prefer=args.prefer,
        store=args.store,
    )
    if args.json:
        print_json("advise/1", answer.record())
    else:
        say(advise_text.document(answer, width() or 80))
    return 0
