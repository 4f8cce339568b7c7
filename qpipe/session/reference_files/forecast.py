"""How large a reference file will be, before anything is computed or fetched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qpipe.errors import QpipeError, UsageError
from qpipe.evaluators.reference_files import header
from qpipe.evaluators.reference_files.about import (
    FileAbout,
    MeasuredPart,
    ModelPart,
    ProtocolPart,
    StoredPart,
    TextPart,
)
from qpipe.evaluators.reference_files.layout import token_bytes
from qpipe.evaluators.text.protocols import Protocol, prepared, protocol
from qpipe.support.files import exists, expanded
from qpipe.texts.whole import read

_TOP_K = (None, 1024, 256, 64)
_LARGEST_VOCABULARY = 1 << 24
_MOST_TOKENS = 1 << 40  # the bound of `about.ProtocolPart`
_ZEROS = "0" * 64
# A name, a machine or a version in a header, of usual length.
_USUAL = "x" * 40


@dataclass(frozen=True)
class ForeseenSize:
    """Bytes for each scored token and of the file, keeping ``top_k`` of each distribution (None:
    all)."""

    top_k: int | None
    token_bytes: int
    size_bytes: int


@dataclass(frozen=True)
class ForeseenFile:
    """The content that a file would have: ``tokens_scored`` is an upper bound with ``at_most``."""

    n_vocab: int
    protocol: str
    windows: int
    tokens_scored: int
    at_most: bool
    sizes: Sequence[ForeseenSize]


def foresee(
    model: str,
    *,
    name: str | None,
    n_ctx: int | None,
    chunks: int | None,
    text: str | None,
    store: Path,
) -> ForeseenFile:
    """The sizes for a model (a path, a name on the hub) or a vocabulary of so many tokens.

    Raises UsageError where neither ``chunks`` nor a ``text`` says how much is measured, and for a
    model of which nothing is known.
    """
    n_vocab = _vocabulary(model, store)
    asked = protocol(name or "llamacpp-512").with_overrides(n_ctx=n_ctx, chunks=chunks)
    documents = _documents(asked, text)
    if documents:
        scored = asked.most_scored([len(each.encode()) for each in documents])
    elif asked.chunks is not None:
        scored = asked.chunks * (asked.n_ctx - 1 - asked.first)
    else:
        raise UsageError(
            "how much is measured? Give --chunks N (windows), or --text FILE for an upper bound"
        )
    if not scored:
        raise UsageError(
            f"--text {text}: is too short for a window of {asked.n_ctx} tokens, so nothing would "
            "be measured; give a longer text, or a smaller --n-ctx"
        )
    windows = max(1, -(-scored // (asked.n_ctx - 1 - asked.first)))
    if windows * asked.n_ctx > _MOST_TOKENS:
        raise UsageError(
            f"{windows:,} windows of {asked.n_ctx:,} tokens are more than the {_MOST_TOKENS:,} "
            "tokens that a reference file may have; give a smaller --chunks or --n-ctx"
        )
    exact = asked.chunks is not None and asked.chunks == windows
    sizes = [
        ForeseenSize(k, token_bytes(n_vocab, k), header.file_size(about))
        for k in _TOP_K
        if k is None or token_bytes(n_vocab, k) < token_bytes(n_vocab, None)
        for about in [_about(n_vocab, k, asked, windows, scored, documents)]
    ]
    return ForeseenFile(n_vocab, asked.label, windows, scored, not exact, sizes)


def _documents(asked: Protocol, text: str | None) -> list[str]:
    if text is None:
        return []
    whole = read(expanded(text))
    return [each.text for each in prepared(asked, whole.text, whole.rows)]


def _vocabulary(model: str, store: Path) -> int:
    """The number of logits a token."""
    digits = model.replace(",", "").replace("_", "")
    n_vocab = int(digits) if digits.isdecimal() and len(digits) < 12 else _of_model(model, store)
    if not 2 <= n_vocab <= _LARGEST_VOCABULARY:
        raise UsageError(f"{model}: a vocabulary has from 2 to {_LARGEST_VOCABULARY:,} tokens")
    return n_vocab


def _of_model(model: str, store: Path) -> int:
    from qpipe.gguf.inspect import inspect
    from qpipe.session.functions import local_path
    from qpipe.sizes.known import shapes

    if model.startswith("builtin:") or exists(expanded(model)):
        path = local_path(model)
        found = inspect(path)
        tokens = found["tokenizer"].get("tokens") if path.suffix == ".gguf" else None
        n_vocab = tokens or (found["metadata"] or {}).get("vocab_size")
    else:
        config: Mapping[str, Any] = shapes(model) or _on_the_hub(model, store)
        n_vocab = config.get("vocab_size") or (config.get("text_config") or {}).get("vocab_size")
    if not isinstance(n_vocab, int):
        raise UsageError(f"{model}: nothing says how many tokens its vocabulary has: give a number")
    return n_vocab


def _on_the_hub(model: str, store: Path) -> Mapping[str, Any]:
    from qpipe.gguf import jsonfile
    from qpipe.session.plans import pinner_of
    from qpipe.sources.hub_source import parse_hub

    source = parse_hub(model, None)
    try:
        found = None if source is None else pinner_of("local", store).config(source)
    except QpipeError:
        found = None
    if found is None:
        raise UsageError(
            f"{model}: no model is there, none of this name is known, and the hub has no "
            "config.json of it here: give the number of tokens of its vocabulary"
        )
    return jsonfile.load(found)


def _about(
    n_vocab: int, top_k: int | None, asked: Protocol, windows: int, scored: int, texts: list[str]
) -> FileAbout:
    """The account that a usual file would give of itself."""
    sizes = [len(text.encode()) for text in texts]
    return FileAbout(
        model=ModelPart(name=_USUAL, format="F16", source=_USUAL + _ZEROS, digest=_ZEROS),
        text=TextPart(
            name=_USUAL,
            sha256=_ZEROS,
            documents=len(texts),
            bytes=sum(sizes),
            carried=bool(texts),
            file_sha256=_ZEROS,
            source=_USUAL + _ZEROS,
        ),
        protocol=ProtocolPart(
            name=asked.name,
            version=asked.version,
            n_ctx=asked.n_ctx,
            windows=windows,
            width=asked.n_ctx,
            available=windows,
            scored=scored,
            text_tokens=windows * asked.n_ctx,
            tokens_sha256=_ZEROS,
            tokenizer=_USUAL,
        ),
        stored=StoredPart(n_vocab=n_vocab, top_k=top_k),
        measured=MeasuredPart(backend=_USUAL, machine={"processor": _USUAL}, key=_ZEROS),
    )
