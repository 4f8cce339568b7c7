"""Modelfiles: written so that Ollama reads back what was meant, which is checked.

Source: Ollama, parser/parser.go, ``ParseFile``: the same states are gone through here. It drops
characters that do not print, and ends a value at a line break after quotation marks that close.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from qpipe.errors import DataError

_COMMANDS = (
    *("from", "license", "template", "system", "adapter", "draft", "renderer", "parser"),
    *("parameter", "message", "requires"),
)
_QUOTES = '"""'


@dataclass
class Modelfile:
    """Instructions (command, argument) and parameters, in their order, with ``comments`` above."""

    comments: Sequence[str] = ()
    commands: list[tuple[str, str]] = field(default_factory=list)

    def add(self, command: str, value: str) -> bool:
        """Take an instruction, or a parameter by its name; False if no Modelfile can say it."""
        try:
            says_so = parse(f"FROM .\n{_line(command, value)}\n") == [
                ("from", "."),
                (command, value),
            ]
        except DataError:
            says_so = False
        if says_so:
            self.commands.append((command, value))
        return says_so

    def __str__(self) -> str:
        lines = [f"# {comment}" for comment in self.comments]
        return "\n".join([*lines, *(_line(*each) for each in self.commands), ""])


def _line(command: str, value: str) -> str:
    if command == "from":
        return f"FROM {value}"
    if command in _COMMANDS:
        return f"{command.upper()} {_QUOTES}{value}{_QUOTES}"
    return f'PARAMETER {command} "{value}"' if command == "stop" else f"PARAMETER {command} {value}"


def parse(text: str) -> list[tuple[str, str]]:
    """Return instructions as Ollama reads them, parameters by their own names.

    Raises DataError for what it refuses.
    """
    result: list[tuple[str, str]] = []
    at = 0
    while at < len(text):
        if text[at] in " \t\r\n":
            at += 1
        elif text[at] == "#":
            at = _line_end(text, at)
        else:
            name, at = _word(text, at, _COMMANDS)
            if name == "parameter":
                name, at = _word(text, at, None)
            value, at = _value(text, at)
            result.append((name, value))
    if not any(name == "from" for name, _ in result):
        raise DataError("Modelfile: no FROM line")
    return result


def _word(text: str, at: int, known: Sequence[str] | None) -> tuple[str, int]:
    end = at
    while end < len(text) and ((text[end].isascii() and text[end].isalnum()) or text[end] == "_"):
        end += 1
    word = text[at:end].lower()
    if end >= len(text) or text[end] not in " \t" or (known is not None and word not in known):
        raise DataError(f"Modelfile: {text[at : end + 1]!r} is no instruction")
    return word, end + 1


def _value(text: str, at: int) -> tuple[str, int]:
    """A value up to the first line break at which its quotation marks are closed."""
    read: list[str] = []
    first, end = 0, 0  # what was read without the spaces around it
    while at < len(text):
        character = text[at]
        # Its ends say whether it is closed: a template has thousands of lines.
        if character in "\r\n" and _unquoted(_ends(read, first, end)) is not None:
            return str(_unquoted("".join(read[first:end]))), at + 1
        if character.isprintable() or character in "\r\n\t":
            read.append(character)
            if not character.isspace():
                first, end = (first if end else len(read) - 1), len(read)
        at += 1
    value = _unquoted("".join(read).strip())
    if value is None:
        raise DataError("Modelfile: a quotation mark is left open")
    return value, at


def _ends(read: Sequence[str], first: int, end: int) -> str:
    """Both ends of what was read, as long as two marks; all of it where it is no longer."""
    size = len(_QUOTES)
    if end - first <= 2 * size:
        return "".join(read[first:end])
    return "".join([*read[first : first + size], *read[end - size : end]])


def _unquoted(text: str) -> str | None:
    """A value without its quotation marks; None while they are open."""
    for mark in (_QUOTES, '"'):
        if text.startswith(mark):
            closed = len(text) >= 2 * len(mark) and text.endswith(mark)
            return text[len(mark) : -len(mark)] if closed else None
    return text


def _line_end(text: str, at: int) -> int:
    while at < len(text) and text[at] not in "\r\n":
        at += 1
    return at
