"""Which characters of a text a vocabulary cannot write.

llama.cpp 0.6.0-dev's SPM tokenizer throws a C++ exception at a character that is neither a token
nor writable in byte tokens, and that ends the process (``llama_vocab::byte_to_token``). Its BPE
tokenizer drops such bytes without a word (``llm_tokenizer_bpe_session::tokenize``), so that
another text would be measured. Both are refused before llama.cpp sees the text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Set
from functools import partial

from qpipe.errors import DataError
from qpipe.llamacpp.c_api import VOCAB_BPE, VOCAB_SPM

_SPACE = "\u2581"


def require_coverage(text: str, pieces: Set[str], *, vocab_type: int) -> None:
    """Raise DataError if ``text`` has a character that the token texts ``pieces`` cannot write.

    A character that occurs only inside longer tokens counts as missing. Vocabulary types other
    than SPM and BPE have an unknown token and are not checked.
    """
    writable = _rule(pieces, vocab_type)
    if writable is None:
        return
    counts = Counter(text)
    missing = {char for char in counts if not writable(char)}
    if not missing:
        return
    first = next(index for index, char in enumerate(text) if char in missing)
    line = text.count("\n", 0, first) + 1
    column = first - text.rfind("\n", 0, first)
    total = sum(counts[char] for char in missing)
    shown = " ".join(f"{char!r}" for char in sorted(missing)[:10])
    raise DataError(
        f"the model's tokenizer cannot write {text[first]!r} (U+{ord(text[first]):04X}) at line "
        f"{line}, column {column} of the text: it has no such token and no byte tokens. "
        f"{total} of {len(text)} characters are of this kind ({len(missing)} different: {shown}"
        f"{' …' if len(missing) > 10 else ''}). Use a text without them, or take them out"
        f"{' (newlines: join the lines with spaces)' if chr(10) in missing else ''}"
    )


def _rule(pieces: Set[str], vocab_type: int) -> Callable[[str], bool] | None:
    if vocab_type == VOCAB_SPM:
        return partial(_spm_writable, pieces)
    if vocab_type == VOCAB_BPE:
        return partial(_bpe_writable, pieces)
    return None


def _spm_writable(pieces: Set[str], char: str) -> bool:
    # llama_escape_whitespace: only the plain space becomes U+2581.
    piece = _SPACE if char == " " else char
    return piece in pieces or all(f"<0x{byte:02X}>" in pieces for byte in piece.encode())


def _bpe_writable(pieces: Set[str], char: str) -> bool:
    if _spm_writable(pieces, char):
        return True
    # llama.cpp 0.6.0-dev drops the others without a word.
    return all(byte_letter(byte) in pieces for byte in char.encode())


def byte_letter(byte: int) -> str:
    """The letter that stands for a byte in byte-level BPE (GPT-2, ``bytes_to_unicode``)."""
    if 0x21 <= byte <= 0x7E or 0xA1 <= byte <= 0xAC or 0xAE <= byte <= 0xFF:
        return chr(byte)
    # The others are numbered from U+0100 in order: 0-32, 127-160, 173.
    rank = byte if byte <= 0x20 else 33 + byte - 0x7F if byte <= 0xA0 else 67
    return chr(0x100 + rank)
