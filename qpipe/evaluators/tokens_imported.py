"""The token ids of a reference file, and the text that they are of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from qpipe.core.key import Json
from qpipe.errors import DataError
from qpipe.evaluators.reference_file import header_in
from qpipe.stages import base
from qpipe.stages.evaluator import only_file
from qpipe.texts.whole import form, read

if TYPE_CHECKING:
    from qpipe.evaluators.reference_files.header import FileHeader

FILE = "file"


class ImportedTokensParams(base.Params):
    """A part of a file's windows; the text only where the file does not carry it, or to compare."""

    text: base.SourceFile | None = Field(
        None, description="The text that it must be measured on. null: the one that it carries."
    )
    chunks: int | None = Field(
        None, ge=1, description="Windows that are taken, from the first. null: all."
    )
    backend: Literal["file"] = Field("file", description="A reference file's own tokens.")


class ImportedTokens(base.Stage):
    """The token ids of a reference file in windows, and the text for others to tokenize."""

    kind = "tokens"
    version = 1
    roles = ("model", FILE)
    accepts: ClassVar[Mapping[str, tuple[str, ...]]] = {"model": (base.REFERENCE,)}
    Params = ImportedTokensParams

    @classmethod
    def fingerprint(cls, params: ImportedTokensParams) -> Mapping[str, Json]:
        """The version of how records are read."""
        return {} if params.text is None else dict(form(params.text))

    @classmethod
    def refuse(cls, params: ImportedTokensParams, order: base.Order) -> None:
        """Raises RecipeError where there is no text, and for another one. What is wrong with the
        file, the stage `reference` says."""
        if FILE not in order.inputs:
            return
        try:
            header = header_in(order.inputs[FILE])
        except DataError:
            return
        _documents(params, order, header, sure="text" in order.inputs)

    def run(self, params: ImportedTokensParams, work: base.Work) -> Mapping[str, Json]:
        """Raises RecipeError for another text, DataError for a file whose parts do not fit
        together."""
        from qpipe.evaluators.reference_files import reading
        from qpipe.evaluators.text.windows import save_documents

        header = header_in(work.inputs["model"])
        tokenized = reading.tokenized(header, chunks=params.chunks)
        tokenized.save(work.out)
        save_documents(work.out, _documents(params, work, header, sure=True))
        return tokenized.facts(tokenizer=header.about.protocol.tokenizer, notes=())


def _documents(
    params: ImportedTokensParams, order: base.Order, header: FileHeader, *, sure: bool
) -> Sequence[str]:
    """The text as the protocol prepares it: the file's own, or the given one if it is the same.

    Not ``sure``: a given text is not here yet, and nothing is said of it.
    """
    from qpipe.evaluators.reference_files import matching, reading
    from qpipe.evaluators.text.protocols import PROTOCOLS, prepared

    name = header.path.name
    matching.require_some_text(name, header.about, given=params.text is not None)
    if params.text is None:
        return reading.documents(header) or []
    if not sure:
        return []
    file = only_file(order.inputs["text"])
    whole = read(file)
    protocol = PROTOCOLS[header.about.protocol.name]
    documents = [each.text for each in prepared(protocol, whole.text, whole.rows)]
    matching.require_text(name, header.about, documents, name=file.name)
    return documents
