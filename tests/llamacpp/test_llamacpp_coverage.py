"""Which characters a vocabulary cannot write."""

from __future__ import annotations

import pytest

from qpipe.errors import DataError
from qpipe.llamacpp.c_api import VOCAB_BPE, VOCAB_SPM
from qpipe.llamacpp.coverage import byte_letter, require_coverage

PIECES = {"\u2581", "a", "b", "ab"}


def test_the_first_missing_character_is_located() -> None:
    with pytest.raises(DataError) as caught:
        require_coverage("ab a\nab\nabé é中", PIECES | {"\n"}, vocab_type=VOCAB_SPM)
    message = str(caught.value)
    assert "'é' (U+00E9) at line 3, column 3" in message
    assert "3 of 14 characters" in message
    assert "2 different: 'é' '中'" in message


def test_byte_tokens_write_everything() -> None:
    bytes_ = {f"<0x{byte:02X}>" for byte in range(256)}
    require_coverage("é中\n\x00😀", PIECES | bytes_, vocab_type=VOCAB_SPM)
    with pytest.raises(DataError, match="U\\+4E2D"):
        require_coverage("é中", PIECES | bytes_ - {"<0xB8>"}, vocab_type=VOCAB_SPM)


def test_a_plain_space_needs_its_escaped_form() -> None:
    require_coverage("a b", PIECES, vocab_type=VOCAB_SPM)
    with pytest.raises(DataError, match="column 2"):
        require_coverage("a b", {"a", "b", " "}, vocab_type=VOCAB_SPM)


def test_byte_level_bpe_drops_silently_what_has_no_letter() -> None:
    letters = {byte_letter(byte) for byte in range(256)}
    require_coverage("a é\n", letters, vocab_type=VOCAB_BPE)
    with pytest.raises(DataError, match="at line 1, column 2"):
        require_coverage("a\n", letters - {"Ċ"}, vocab_type=VOCAB_BPE)


def test_byte_letters_are_gpt2s() -> None:
    assert [byte_letter(byte) for byte in (0, 0x0A, 0x20, 0x21, 0x7F, 0xA0, 0xAD, 0xFF)] == [
        "Ā", "Ċ", "Ġ", "!", "ġ", "ł", "Ń", "ÿ",
    ]  # fmt: skip
    assert len({byte_letter(byte) for byte in range(256)}) == 256


def test_other_kinds_have_an_unknown_token() -> None:
    require_coverage("中", set(), vocab_type=3)
