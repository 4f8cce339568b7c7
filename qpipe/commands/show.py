"""`qpipe show KEY`: everything that an artifact's manifest says."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qpipe.commands.output import print_json
from qpipe.commands.parser import add_json, add_store
from qpipe.report import numbers, text


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    """``KEY``, ``--json``, ``--store``."""
    parser.add_argument(
        "key", metavar="KEY", help="the first digits of a key, or an artifact's path"
    )
    add_json(parser)
    add_store(parser)


def run(args: argparse.Namespace) -> int:
    """Show one artifact. Raises StoreError for none, several, or a damaged manifest."""
    from qpipe.core.manifest import Manifest
    from qpipe.core.store import Store

    store = Store(Path(args.store))
    folder = store.paths.artifact(store.find(Path(args.key).name))
    manifest = Manifest.load(folder)
    if args.json:
        document = json.loads(manifest.dump())
        print_json({**document, "path": str(folder), "last_used": folder.stat().st_mtime})
        return 0
    usage = manifest.usage
    made = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(manifest.created))
    print(
        text.pairs(
            [
                ("key", manifest.key),
                ("stage", f"{manifest.stage} (version {manifest.version})"),
                ("name", manifest.name),
                ("path", str(folder)),
                ("made", made),
                (
                    "took",
                    f"{numbers.duration(usage.seconds)} ({numbers.duration(usage.cpu_seconds)} of "
                    f"CPU, {numbers.size(usage.peak_rss)} of memory at most)"
                    + (f", an equal share of a pass over {usage.nodes}" * (usage.nodes > 1)),
                ),
                ("parameters", _lines(manifest.params)),
                ("engine", _lines(manifest.engine)),
                ("inputs", _inputs(manifest.inputs)),
                ("facts", _lines(manifest.facts)),
                ("files", _files(manifest.files)),
                ("content", manifest.digest),
                ("tools", _lines(manifest.tools)),
                ("machine", _lines(manifest.machine)),
                ("node id", manifest.id),
            ]
        )
    )
    return 0


def _lines(values: Mapping[str, Any]) -> str:
    return text.pairs([(name, _value(value)) for name, value in values.items()]) or "-"


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _inputs(inputs: Mapping[str, Mapping[str, str]]) -> str:
    entries = [(role, f"{source['key'][:12]}  {source['name']}") for role, source in inputs.items()]
    return text.pairs(entries) or "-"


def _files(files: Any) -> str:
    return (
        text.pairs(
            [
                (
                    file.path,
                    f"{numbers.size(file.size)} ({numbers.count(file.size)} bytes)  "
                    f"SHA-256 {file.sha256}" + ("  (a link)" if file.mtime_ns is not None else ""),
                )
                for file in files
            ]
        )
        or "-"
    )
