"""Everything that an artifact's manifest says, for people."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from qpipe.report import numbers, text

if TYPE_CHECKING:
    from qpipe.core.manifest import Manifest
    from qpipe.session.places import Places


def described(manifest: Manifest, places: Places) -> str:
    """Return the manifest as names and values, a line or a few each, with the paths of its files
    in front."""
    usage = manifest.usage
    date = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(manifest.created))
    return text.pairs(
        [
            ("key", manifest.key),
            ("stage", f"{manifest.stage} (version {manifest.version})"),
            ("name", manifest.name),
            *([("model", str(model))] if (model := manifest.facts.get("made_for")) else []),
            *_places(places),
            ("made", date),
            (
                "took",
                f"{numbers.duration(usage.seconds)} ({numbers.duration(usage.cpu_seconds)} of "
                f"CPU, {numbers.size(usage.peak_rss)} of memory at most)"
                + (f", an equal share of a pass over {usage.nodes}" * (usage.nodes > 1)),
            ),
            ("parameters", _lines(manifest.params)),
            ("engine", _lines(manifest.engine)),
            ("inputs", _inputs(manifest.inputs)),
            ("facts", _lines(_folded(manifest.facts))),
            ("files", _files(manifest.files)),
            ("content", manifest.digest),
            ("tools", _lines(manifest.tools)),
            ("machine", _lines(manifest.machine)),
            ("node id", manifest.id),
        ]
    )


def _places(places: Places) -> Iterator[tuple[str, str]]:
    """The paths of the files, of links to them, and of what they came from."""
    yield ("path", str(places.folder)) if places.file is None else ("file", str(places.file))
    if places.links:
        yield "links", "\n".join(map(str, places.links))
    if places.source is not None:
        yield "source", places.source


def _lines(values: Mapping[str, Any]) -> str:
    return text.pairs([(name, _value(value)) for name, value in values.items()]) or "-"


def _folded(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Facts without what other places show of each tensor."""
    where = {"tensor_details": "`qpipe inspect` shows them", "tensor_losses": "in sensitivity.csv"}
    folded = {
        name: f"of {len(facts[name])} tensors; {words}"
        for name, words in where.items()
        if facts.get(name)
    }
    return {**facts, **folded}


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
