"""What a file says of its text and protocol, of the text and its windows."""

from __future__ import annotations

from collections.abc import Sequence

from qpipe.evaluators.reference_files.about import ProtocolPart, TextPart
from qpipe.evaluators.reference_files.writing import documents_sha256
from qpipe.evaluators.text.protocols import of_label
from qpipe.evaluators.text.windows import Tokenized


def text_part(
    name: str,
    documents: Sequence[str] | None,
    *,
    carried: bool,
    file_sha256: str | None = None,
    source: str | None = None,
) -> TextPart:
    """The account of a text; ``documents`` are what the protocol prepared of it (None: not
    known)."""
    return TextPart(
        name=name,
        sha256=None if documents is None else documents_sha256([*documents]),
        documents=len(documents or ()),
        bytes=sum(len(each.encode()) for each in documents or ()),
        carried=carried,
        file_sha256=file_sha256,
        source=source,
    )


def protocol_part(tokenized: Tokenized, *, tokenizer: str | None = None) -> ProtocolPart:
    """The account of how a text was cut; ``tokenizer`` is the software that made the ids."""
    windows, about = tokenized.windows, tokenized.about
    protocol = of_label(about.protocol)
    return ProtocolPart(
        name=protocol.name,
        version=about.protocol_version,
        n_ctx=about.n_ctx,
        windows=len(windows.tokens),
        width=windows.tokens.shape[1],
        available=about.available,
        scored=windows.scored,
        text_tokens=about.text_tokens,
        tokens_sha256=about.sha256,
        tokenizer=tokenizer,
        unit=about.unit,
        units=about.units,
        chunks=protocol.chunks,
    )
