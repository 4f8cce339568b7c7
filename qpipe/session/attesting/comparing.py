"""Derive published GGUF files again from their source, and compare them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from qpipe.core.digests import Digests
from qpipe.core.layout import StorePaths
from qpipe.errors import SourceError
from qpipe.gguf import values
from qpipe.gguf.attest import ladder, metadata, stray, verdicts
from qpipe.gguf.attest.contest import Contest, contest, noted_imatrix
from qpipe.gguf.file_plan import FilePlan
from qpipe.gguf.imatrix import IMatrix
from qpipe.gguf.reader import GGUFFile
from qpipe.session.attesting import published
from qpipe.session.attesting.attestation import (
    Attestation,
    AttestedFile,
    PublishedPart,
    UsedImatrix,
)
from qpipe.session.attesting.published import Imatrices, PublishedFile
from qpipe.session.attesting.source import opened
from qpipe.session.attesting.words import in_words_of
from qpipe.session.functions import local_path
from qpipe.support.files import expanded, is_file

Progress = Callable[[int, int, str], None]
"""Takes how much is done, of how much, and of what: bytes fetched, or compared."""


def compared(
    names: Sequence[str],
    source: str,
    imatrix: str | None,
    store: Path,
    threads: int,
    tell: Progress,
) -> Attestation:
    """Do as `qpipe.attest` says, and raise as it does."""
    given = None if imatrix is None else expanded(imatrix)
    if given is not None and not is_file(given):
        raise SourceError(f"imatrix {imatrix}: there is no such file")
    with in_words_of("FILE"):
        read = published.read(names, store)
    whole = [file for file in read if file.header is not None]
    if not whole:
        assert read[0].problem is not None
        raise read[0].problem
    pre = _splitting_rule(whole[0].header)
    with opened(source, store, threads=threads, pre=pre, progress=tell) as origin:
        matrices = Imatrices(given, [origin.folder, *_own_folder(source)])
        found = {file.name: matrices.of(file) for file in whole}
        contests = {file.name: _contest(origin.plan, file, found[file.name][0]) for file in whole}
        ladder.compare(
            origin.plan,
            [*contests.values()],
            threads=threads,
            begin=origin.begin,
            progress=lambda done, total: tell(done, total, "bytes compared"),
        )
        digests = Digests(StorePaths(store).hashes)
        results = []
        for file in read:
            parts = _parts(file, digests, threads)
            if file.header is None:
                results.append(AttestedFile(file.name, parts, problem=str(file.problem)))
            else:
                matrix = _imatrix(file.header, *found[file.name])
                results.append(_result(origin.plan, file.name, parts, contests[file.name], matrix))
        return Attestation(origin.record, results)


def _own_folder(source: str) -> list[Path]:
    """The folder that a source is, or is in, if it is a local one."""
    try:
        path = local_path(source)
    except SourceError:
        return []
    return [path if path.is_dir() else path.parent]


def _splitting_rule(header: GGUFFile | None) -> str | None:
    key = "tokenizer.ggml.pre"
    known = header is not None and key in header.metadata
    return str(values.decode(header.metadata[key])) if header is not None and known else None


def _contest(plan: FilePlan, file: PublishedFile, imatrix: IMatrix | None) -> Contest:
    assert file.header is not None
    return contest(plan, file.header, imatrix)


def _parts(file: PublishedFile, digests: Digests, threads: int) -> list[PublishedPart]:
    sha256 = digests.of_each(file.parts, threads=threads)
    return [
        PublishedPart(path.name, path.stat().st_size, digest, _stray(file, path))
        for path, digest in zip(file.parts, sha256, strict=True)
    ]


def _stray(file: PublishedFile, path: Path) -> int | None:
    return None if file.header is None else stray.stray_bytes(path)


def _result(
    plan: FilePlan,
    name: str,
    parts: list[PublishedPart],
    compared: Contest,
    matrix: UsedImatrix | None,
) -> AttestedFile:
    header = compared.file
    return AttestedFile(
        name,
        parts,
        type=header.file_type,
        way=compared.preferred,
        imatrix=matrix,
        tensors=verdicts.verdicts(compared),
        metadata=metadata.compare(header.metadata, plan.metadata),
    )


def _imatrix(header: GGUFFile, matrix: IMatrix | None, problem: str | None) -> UsedImatrix | None:
    noted = noted_imatrix(header)
    if noted is None and matrix is None:
        return None
    path = None if matrix is None else str(matrix.path)
    return UsedImatrix(noted, path, problem, _mismatch(header, matrix))


def _mismatch(header: GGUFFile, matrix: IMatrix | None) -> str | None:
    """Say what of the importance matrix at hand is not as the file notes."""
    if matrix is None or noted_imatrix(header) is None:
        return None
    own = {"entries": len(matrix.weights), "chunks": matrix.chunks}
    for word, number in own.items():
        key = f"quantize.imatrix.{word}_count"
        noted = values.decode(header.metadata[key], limit=1) if key in header.metadata else number
        if noted != number and number:
            return f"the file notes {noted} {word}, it has {number}"
    return None
