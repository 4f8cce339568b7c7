"""Modelfiles, read as Ollama's parser reads them (parser/parser.go and its tests)."""

from __future__ import annotations

import pytest

from qpipe.errors import DataError
from qpipe.export.ollama.modelfile import Modelfile, parse


def test_read_as_ollama_does() -> None:
    text = '''# a comment
FROM ./a file.gguf
parameter temperature 0.7
PARAMETER stop "<|im_end|>"
PARAMETER stop ###
SYSTEM You are "Mario"   \n
TEMPLATE """ {{ .System }}
"quoted"\tand more
"""
LICENSE "one
two"
'''  # the spaces behind SYSTEM's text go
    assert parse(text) == [
        ("from", "./a file.gguf"),
        ("temperature", "0.7"),
        ("stop", "<|im_end|>"),
        ("stop", "###"),
        ("system", 'You are "Mario"'),
        ("template", ' {{ .System }}\n"quoted"\tand more\n'),
        ("license", "one\ntwo"),
    ]


@pytest.mark.parametrize(
    "text",
    ["", "SYSTEM hello", 'FROM a\nTEMPLATE """x\n', "FROM a\nDO this", "FROM a\nPARAMETER x-y 1"],
)
def test_refused_as_ollama_does(text: str) -> None:
    with pytest.raises(DataError):
        parse(text)


@pytest.mark.parametrize(
    ("command", "value", "sayable"),
    [
        ("template", ' {{ "\\"" }}\n\n', True),
        ("template", 'ends in "', True),
        ("template", 'a\n"""\nb', False),  # would end there
        ("system", "no-break\u00a0space", False),  # would be lost
        ("system", "# no comment\nFROM elsewhere", True),
        ("stop", 'a "word"', True),
        ("stop", "two\nlines", True),
        ("stop", '"\n"', False),
        ("temperature", "0.5", True),
    ],
)
def test_what_can_be_said(command: str, value: str, sayable: bool) -> None:
    file = Modelfile(["a model"], [("from", "./a.gguf")])
    assert file.add(command, value) is sayable
    assert parse(str(file)) == [("from", "./a.gguf"), *([(command, value)] if sayable else [])]


def test_a_template_of_thousands_of_lines_is_read_in_one_pass() -> None:
    """Each line that ends in a quotation mark might be its last."""
    template = '{{ if eq .Role "user" }}"\n' * 20_000
    file = Modelfile()
    assert file.add("template", template)
    assert parse(f"FROM .\n{file}")[1] == ("template", template)
