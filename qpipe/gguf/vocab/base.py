"""What every vocabulary shares: token types and the lists that are written."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from qpipe.gguf import values


class TokenType(IntEnum):
    """llama.h, enum llama_token_type."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass
class TokenTable:
    """Parallel lists, one entry per row of the embedding."""

    texts: list[bytes]
    scores: list[float]
    types: list[TokenType]

    @classmethod
    def unused(cls, count: int) -> TokenTable:
        """``count`` placeholders, as the converter names rows without a token."""
        return cls(
            [f"[PAD{i}]".encode() for i in range(count)],
            [-10000.0] * count,
            [TokenType.UNUSED] * count,
        )

    def put(self, index: int, text: bytes, score: float, kind: TokenType) -> None:
        """Set one entry."""
        self.texts[index], self.scores[index], self.types[index] = text, score, kind

    def metadata(self, model: str, pre: str | None, *, scores: bool) -> values.Metadata:
        """The lists as ``tokenizer.ggml.*``."""
        fields = {"tokenizer.ggml.model": values.string(model)}
        if pre is not None:
            fields["tokenizer.ggml.pre"] = values.string(pre)
        fields["tokenizer.ggml.tokens"] = values.strings(self.texts)
        if scores:
            fields["tokenizer.ggml.scores"] = values.f32s(self.scores)
        fields["tokenizer.ggml.token_type"] = values.i32s(self.types)
        return fields


def looks_special(token: str) -> bool:
    """True if an added token is a control token though it is not marked as one.

    Source: llama.cpp, conversion/base.py, does_token_look_special.
    """
    return (
        token in ("<pad>", "<mask>", "<2mass>", "[@BOS@]")
        or (token.startswith("<|") and token.endswith("|>"))
        or (token.startswith("<｜") and token.endswith("｜>"))
        or (token.startswith("<unused") and token.endswith(">"))
    )
