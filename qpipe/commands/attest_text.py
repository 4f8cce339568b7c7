"""What `qpipe attest` prints: a line for each file, and of those that differ, their tensors."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING

from qpipe.report import text

if TYPE_CHECKING:
    from qpipe.session.attesting.attestation import (
        Attestation,
        AttestedFile,
        MetadataComparison,
        TensorVerdict,
        Way,
    )

_WIDTH, _MOST = 80, 40
_READINGS = {
    "rounding": "few blocks, as near to the source as ours: as another compiler or version of "
    "llama.cpp rounds, or a change as small as that",
    "changed": "few blocks, and far from the source: changed after it was made",
    "same_weights": "about as near to the source as ours: the same weights by another way (another "
    "importance matrix, tool or version)",
    "other_weights": "far from the source: other weights",
    "other_shape": "not of the source's shape",
}
_PROOF = (
    "identical: every weight of the file is what qpipe makes of this source by the way that is "
    "named, byte for byte. It says nothing of the metadata (tokenizer, chat template, "
    "hyperparameters), which are compared apart and change no exit code, nor of who made the file."
)


def doing(unit: str) -> str:
    """Return what is going on while bytes of this ``unit`` are counted."""
    return "comparing" if unit == "bytes compared" else "fetching"


def text_of_source(answer: Attestation) -> str:
    """Return what the source was pinned to."""
    source = answer.source
    if source["commit"] is not None:
        return f"source: {source['repo']} at commit {source['commit']}"
    return f"source: {source['source']} (digest {str(source['digest'])[:12]})"


def document(answer: Attestation, width: int | None) -> str:
    """Return all of the answer, in lines of a terminal of so many columns."""
    columns = min(width or _WIDTH, 100)
    parts = [text_of_source(answer), _table(answer.files, width)]
    parts += ["\n".join(_details(file, columns)) for file in answer.files if _has_details(file)]
    if legend := _legend(answer.files):
        parts.append("\n".join(_wrapped(f"{name}: {words}", columns) for name, words in legend))
    if any(file.identical for file in answer.files):
        parts.append(_wrapped(_PROOF, columns, indent=""))
    return "\n\n".join(parts)


def _table(files: Sequence[AttestedFile], width: int | None) -> str:
    rows = [
        [
            PurePath(file.name).name,
            _verdict(file),
            f"{file.counts.get('identical', 0)} of {len(file.tensors)}" if file.tensors else "",
            "" if file.way is None else file.way.via.name,
            _imatrix(file),
            "" if file.metadata is None else _metadata_word(file.metadata),
        ]
        for file in files
    ]
    head = ("FILE", "VERDICT", "TENSORS", "VIA", "IMATRIX", "METADATA")
    return text.fitting(head, rows, right="llrlll", width=width, less=("VIA", "IMATRIX"))


def _verdict(file: AttestedFile) -> str:
    if file.problem is not None:
        return "not readable"
    if file.identical:
        return "identical"
    return "undecided" if file.undecided else "DIFFERENT"


def _imatrix(file: AttestedFile) -> str:
    if file.imatrix is None:
        return "none"
    if file.imatrix.path is None:
        return "missing"
    return "yes" if file.way is not None and file.way.weighted else "not used"


def _metadata_word(metadata: MetadataComparison) -> str:
    count = len(metadata.different)
    return f"{count} differ" if count > 1 else "1 differs" if count else "same"


def _has_details(file: AttestedFile) -> bool:
    unlike = bool(file.metadata and file.metadata.different)
    return unlike or not file.identical or any(part.stray_bytes for part in file.parts)


def _details(file: AttestedFile, columns: int) -> Iterator[str]:
    """Yield what is to be said of a file that is not identical, or not in all that is no tensor."""
    yield f"{PurePath(file.name).name}:"
    for part in file.parts:
        if part.stray_bytes:
            count = part.stray_bytes
            words = f"{count:,} bytes are" if count > 1 else "1 byte is"
            yield _wrapped(
                f"{part.name}: {words} of no tensor, behind the last or between two: nothing that "
                "loads the model reads them, and the source says nothing of them",
                columns,
            )
    if file.problem is not None:
        yield _wrapped(file.problem, columns)
        return
    if file.other_source:
        far = "most matrices are far from the source's weights: probably not made from this source"
        yield _wrapped(far, columns)
    if file.imatrix is not None:
        if file.imatrix.problem is not None:
            words = f"importance matrix: {file.imatrix.problem}; --imatrix FILE gives it"
            yield _wrapped(words, columns)
        if file.imatrix.mismatch is not None:
            words = f"importance matrix: probably another one: {file.imatrix.mismatch}"
            yield _wrapped(words, columns)
    if unlike := [tensor for tensor in file.tensors if tensor.status != "identical"]:
        yield textwrap.indent(_tensors(unlike), "  ")
    for words in _reasons(unlike):
        yield _wrapped(words, columns)
    if file.metadata is not None:
        yield from _metadata(file.metadata, columns)


def _tensors(tensors: Sequence[TensorVerdict]) -> str:
    """A line for each kind of tensor with the same verdict, the worst of it."""
    kinds: dict[tuple[str, str, str, str], list[TensorVerdict]] = {}
    for each in tensors:
        kind = re.sub(r"\.\d+\.", ".*.", each.name, count=1)
        kinds.setdefault((kind, each.type or "", each.status, each.reading or ""), []).append(each)
    rows = []
    for (kind, *_), alike in [*kinds.items()][:_MOST]:
        first = alike[0]
        status = first.status.replace("_", " ")
        rows.append(
            [
                first.name if len(alike) == 1 else f"{kind} ({len(alike)})",
                first.type or "",
                first.reading.replace("_", " ") if first.reading else status,
                _share(max((t.blocks for t in alike if t.blocks is not None), default=None)),
                _share(max((t.error for t in alike if t.error is not None), default=None)),
                _share(max((t.our_error for t in alike if t.our_error is not None), default=None)),
            ]
        )
    head = ("TENSOR", "TYPE", "VERDICT", "BLOCKS", "ERROR", "OURS")
    more = f"\n… and {len(kinds) - _MOST} more kinds (--json)" if len(kinds) > _MOST else ""
    return text.table(head, rows, right="lllrrr") + more


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.3g} %"


def _reasons(tensors: Sequence[TensorVerdict]) -> Iterator[str]:
    """Yield each reason beside the bytes once, with the tensors that have it."""
    names: dict[str, list[str]] = {}
    for tensor in tensors:
        if tensor.instead is not None:
            names.setdefault(f"identical {_way(tensor.instead)}", []).append(tensor.name)
        elif tensor.why is not None and tensor.reading != "other_shape":
            names.setdefault(tensor.why, []).append(tensor.name)
    for why, having in names.items():
        yield f"{having[0] if len(having) == 1 else f'{len(having)} tensors'}: {why}"


def _way(way: Way) -> str:
    weights = "with" if way.weighted else "without"
    lattice = ", with the scales of a lattice" if way.scales == "lattice" else ""
    return f"by way of {way.via.name}, {weights} an importance matrix{lattice}"


def _metadata(metadata: MetadataComparison, columns: int) -> Iterator[str]:
    for difference in metadata.different[:_MOST]:
        sides = {"file": difference.file, "source": difference.source}
        values = ", ".join(f"{name} {'none' if v is None else v}" for name, v in sides.items())
        yield _wrapped(f"metadata {difference.key}: {values}", columns)


def _legend(files: Sequence[AttestedFile]) -> list[tuple[str, str]]:
    shown = {t.reading for file in files for t in file.tensors if t.reading is not None}
    return [(name.replace("_", " "), words) for name, words in _READINGS.items() if name in shown]


def _wrapped(words: str, columns: int, *, indent: str = "  ") -> str:
    later = indent + "  " if indent else ""
    return textwrap.fill(
        text.printable(words), columns, initial_indent=indent, subsequent_indent=later,
        break_on_hyphens=False,
    )  # fmt: skip
