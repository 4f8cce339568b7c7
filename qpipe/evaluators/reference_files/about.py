"""A reference file's own account of its model, text, protocol and arithmetic."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

_LONG = 2000
_MOST = 1 << 40

Name = Annotated[str, Field(max_length=_LONG)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0, le=_MOST)]
Positive = Annotated[int, Field(ge=1, le=_MOST)]


class _Part(BaseModel):
    """A part of what a file says: typed, bounded; what a later qpipe adds is passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False, strict=True)


def short_source(source: str | None) -> str | None:
    """A repository with the first digits of its commit; nothing of local files, whose digest says
    nothing to people."""
    match = re.fullmatch(r"hf:(.+)@([0-9a-f]{40})(/.*)?", source or "")
    return f"{match[1]}@{match[2][:8]}{match[3] or ''}" if match else None


class ModelPart(_Part):
    """The model whose log-probabilities these are. ``source`` is a repository with its commit, or
    the digest of local files; ``digest`` that of the files which were computed."""

    name: Name
    format: Name | None = None
    architecture: Name | None = None
    source: Name | None = None
    digest: Digest | None = None
    size_bytes: Count | None = None
    bits_per_weight: float | None = None
    weights: Count | None = None
    licence: Name | None = None


class TextPart(_Part):
    """The text. ``sha256`` is that of its documents as the protocol prepares them (`documents`),
    ``file_sha256`` that of the file that they were in. ``carried`` says whether they are in the
    reference file."""

    name: Name
    sha256: Digest | None
    documents: Count
    bytes: Count
    carried: bool
    file_sha256: Digest | None = None
    source: Name | None = None
    licence: Name | None = None


class ProtocolPart(_Part):
    """The way the text was cut: a protocol (`text.protocols`) by name and version, and its
    windows: how many, of ``n_ctx`` tokens, of how many in the text."""

    name: Name
    version: Positive
    n_ctx: Positive
    windows: Positive
    width: Positive
    available: Positive
    scored: Positive
    text_tokens: Positive
    tokens_sha256: Digest
    tokenizer: Name | None = None
    unit: Annotated[str, Field(pattern="^(token|word|byte)$")] = "token"
    units: Count | None = None
    chunks: Positive | None = None


class StoredPart(_Part):
    """The part of each distribution that is stored: all of ``n_vocab`` tokens, or the
    ``top_k`` likeliest and two sums over the rest; each log-probability is off by ``error_nats`` at
    most."""

    n_vocab: Annotated[int, Field(ge=2, le=1 << 24)]
    top_k: Annotated[int, Field(ge=1, le=1 << 24)] | None = None
    error_nats: float = 16 / 65535 / 2


class MeasuredPart(_Part):
    """The software, machine and date that it was computed with, and the reference's own figures."""

    backend: Name
    arithmetic: dict[Name, Name] | None = None
    machine: dict[Name, Any] = Field(default_factory=dict, max_length=20)
    qpipe: Name | None = None
    date: Name | None = None
    by: Name | None = None
    key: Digest | None = None
    kld_noise: float | None = None
    notes: list[Name] = Field(default_factory=list, max_length=100)


class FileAbout(_Part):
    """All that a reference file says of itself."""

    model: ModelPart
    text: TextPart
    protocol: ProtocolPart
    stored: StoredPart
    measured: MeasuredPart

    @property
    def kept(self) -> str:
        """Words on how much of each distribution is kept."""
        k = self.stored.top_k
        return f"all {self.stored.n_vocab:,}" if k is None else f"the {k:,} likeliest"
