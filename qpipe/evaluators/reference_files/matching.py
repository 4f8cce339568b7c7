"""What a recipe asks for beside what a reference file has: the same, or refused."""

from __future__ import annotations

from dataclasses import dataclass

from qpipe.errors import DataError, RecipeError
from qpipe.evaluators.reference_files.about import FileAbout, short_source
from qpipe.evaluators.reference_files.writing import documents_sha256
from qpipe.evaluators.text.protocols import PROTOCOLS


@dataclass(frozen=True)
class Wanted:
    """A recipe's own words on the measuring; None: whatever the file has."""

    protocol: str | None = None
    n_ctx: int | None = None
    chunks: int | None = None
    top_k: int | None = None


def require(file: str, about: FileAbout, wanted: Wanted) -> None:
    """Raise RecipeError, naming both and the override that helps, for what a file has not, and
    DataError for a protocol that this qpipe has not."""
    has = about.protocol
    known = PROTOCOLS.get(has.name)
    if known is None or known.version != has.version:
        here = "no such protocol" if known is None else f"version {known.version} of it"
        raise DataError(
            f"{file}: measured by protocol {has.name}, version {has.version}, and this qpipe has "
            f"{here}: use the qpipe that wrote it ({about.measured.qpipe or 'not known'}) or newer"
        )
    if wanted.protocol not in (None, has.name):
        raise _other(file, f"protocol={wanted.protocol}", f"protocol={has.name}")
    if wanted.n_ctx not in (None, has.n_ctx):
        raise _other(file, f"n_ctx={wanted.n_ctx}", f"n_ctx={has.n_ctx}")
    if wanted.chunks is not None and known.scored == "rolling":
        raise RecipeError(
            f"evaluate.chunks={wanted.chunks}: {file} is by protocol {has.name}, which takes the "
            "whole text; leave it out (evaluate.chunks=null)"
        )
    if wanted.chunks is not None and wanted.chunks > has.windows:
        raise RecipeError(
            f"evaluate.chunks={wanted.chunks}: {file} has {has.windows:,} windows; set "
            f"evaluate.chunks={has.windows} or fewer, or leave it out"
        )
    stored = about.stored.top_k
    if wanted.top_k is not None and wanted.top_k != stored:
        less = stored is not None and wanted.top_k > stored
        raise RecipeError(
            f"evaluate.top_k={wanted.top_k}: {file} keeps {about.kept} tokens of each distribution"
            f"{', and no more can be had of it' if less else ''}; leave it out "
            "(evaluate.top_k=null), or have another exported"
        )


def require_text(file: str, about: FileAbout, documents: list[str], *, name: str) -> None:
    """Raise RecipeError unless these are the documents that a file was measured on."""
    sha256 = documents_sha256(documents)
    if about.text.sha256 not in (None, sha256):
        source = f" ({short})" if (short := short_source(about.text.source)) else ""
        carried = (
            "set evaluate.text=null: the file carries it"
            if about.text.carried
            else f"give {about.text.name}{source} as evaluate.text"
        )
        raise RecipeError(
            f"evaluate.text={name}: {file} was measured on {about.text.name}{source}, SHA-256 "
            f"{str(about.text.sha256)[:12]}… once prepared, and {name} is {sha256[:12]}…; {carried}"
        )


def require_some_text(file: str, about: FileAbout, *, given: bool) -> None:
    """Raise RecipeError for a text that is neither in the file nor in the recipe."""
    if given or about.text.carried:
        return
    text = about.text
    source = text.source if short_source(text.source) else text.name
    raise RecipeError(
        f"{file} does not carry its text, by which it is seen that a model has the same tokenizer: "
        f"give it with evaluate.text=FILE; it is {source}, {about.text.bytes:,} bytes once prepared"
    )


def _other(file: str, ours: str, theirs: str) -> RecipeError:
    return RecipeError(
        f"evaluate.{ours}: {file} was measured with {theirs}, and figures compare under one "
        f"protocol alone; set evaluate.{theirs}, or leave it out"
    )
