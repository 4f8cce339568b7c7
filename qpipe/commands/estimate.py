"""`qpipe estimate MODEL`: files, memory and speed in each format, before anything runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from qpipe.commands.output import print_json, say
from qpipe.commands.parser import add_json, add_runs, add_store

_RUNTIMES = ("llama.cpp", "vllm", "transformers", "exllama")


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    """Add ``MODEL``, the formats, and how it is to be run."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        nargs="?",
        help="config.json, folder, GGUF file, repository (OWNER/NAME), known model or recipe",
    )
    add = parser.add_argument
    add("--type", action="append", default=[], metavar="NAME", help="a format: Q4_K_M, gptq, fp8")
    add("--ctx", metavar="N", help="tokens of context, as 32k (default: 8192, or the model's)")
    add("--batch", default="1", metavar="N", help="sequences at once (default: 1)")
    add("--kv", metavar="TYPE", help="type of the KV cache, as q8_0")
    add("--kv-k", metavar="TYPE", help="of its keys alone")
    add("--kv-v", metavar="TYPE", help="of its values alone")
    add("--runtime", choices=_RUNTIMES, default=_RUNTIMES[0], help="(default: llama.cpp)")
    add("--gpu", action="append", default=[], metavar="CARD", help="24GB, RTX 4090, 2x H100")
    add("--ram", metavar="SIZE", help="memory of the machine, as 32GB (default: this one's)")
    add("--flash-attention", choices=("on", "off"), default="on", help="(default: on)")
    add("--how-right", action="store_true", help="how near forecasts came, of runs and the store")
    add_json(parser)
    add_store(parser)
    add_runs(parser)


def run(args: argparse.Namespace) -> int:
    """Print a table, or the answer as JSON."""
    from qpipe.commands import estimate_text, how_right_text
    from qpipe.session.estimating import pipeline
    from qpipe.session.estimating.function import estimate

    if args.how_right:
        return how_right_text.told(args.model, args.store, args.runs, as_json=args.json)
    same = {name: getattr(args, name) for name in ("ctx", "batch", "runtime", "gpu", "ram")}
    answer = estimate(
        *(args.model or "", args.type),
        **same,
        kv_k=args.kv_k or args.kv,
        kv_v=args.kv_v or args.kv,
        flash_attention=args.flash_attention == "on",
    )
    answer = pipeline.with_plan(answer, args.model, store=Path(args.store), runs=Path(args.runs))
    if args.json:
        print_json("estimate/1", estimate_text.document(answer))
    else:
        say("\n".join(estimate_text.lines(answer)))
    return 0
