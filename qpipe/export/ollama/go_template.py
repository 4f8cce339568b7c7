"""Go's text/template, as far as the templates that are written here use it.

Text, trim markers, fields, variables, ``if``/``else if``/``else``, ``range`` and a few functions.
What Go itself makes of the same templates is kept beside the tests. Source: Go 1.27, text/template.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from qpipe.errors import UsageError

_ACTION = re.compile(r"\{\{(- )?(.*?)( -)?\}\}", re.DOTALL)
_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|:=|=|[(),]|[$.\w]+|\S', re.DOTALL)
_SPACE = " \t\r\n"


class GoTemplateError(UsageError):
    """A template is none, or uses what is not known here."""


@dataclass
class _Branch:
    """``if`` or ``range``: its pipeline, what is done with it, and what else."""

    kind: str
    words: Sequence[str]
    body: list[_Node] = field(default_factory=list)
    other: list[_Node] = field(default_factory=list)


@dataclass(frozen=True)
class _Action:
    words: Sequence[str]


_Node = str | _Action | _Branch


def execute(template: str, data: Mapping[str, Any]) -> str:
    """Render a template with ``data``. Raises GoTemplateError."""
    tokens = _tokens(template)
    nodes, end = _list(tokens, 0)
    if end != len(tokens):
        raise GoTemplateError(f"{{{{ {' '.join(tokens[end][1])} }}}} has nothing before it to end")
    return _Execution(data).text(nodes, data)


def quoted(text: str) -> str:
    """A text as a Go string, in ASCII."""
    return json.dumps(text)


def _tokens(template: str) -> list[tuple[bool, Any]]:
    """(True, words of an action) and (False, text), trimmed as the markers say."""
    tokens: list[tuple[bool, Any]] = []
    at, trim = 0, False
    for match in _ACTION.finditer(template):
        text = template[at : match.start()]
        text = text.lstrip(_SPACE) if trim else text
        tokens.append((False, text.rstrip(_SPACE) if match[1] else text))
        tokens.append((True, _WORD.findall(match[2])))
        at, trim = match.end(), bool(match[3])
    rest = template[at:]
    tokens.append((False, rest.lstrip(_SPACE) if trim else rest))
    return [token for token in tokens if token[0] or token[1]]


def _list(tokens: Sequence[tuple[bool, Any]], at: int) -> tuple[list[_Node], int]:
    """Nodes up to an ``else`` or ``end``, and where that is."""
    nodes: list[_Node] = []
    while at < len(tokens):
        action, content = tokens[at]
        if not action:
            nodes.append(content)
        elif not content:
            raise GoTemplateError("an action is empty")
        elif content[0] in ("else", "end"):
            return nodes, at
        elif content[0] in ("if", "range"):
            branch, at = _branch(tokens, at, content)
            nodes.append(branch)
        else:
            nodes.append(_Action(content))
        at += 1
    return nodes, at


def _branch(
    tokens: Sequence[tuple[bool, Any]], at: int, words: Sequence[str]
) -> tuple[_Branch, int]:
    branch = _Branch(words[0], words[1:])
    branch.body, at = _list(tokens, at + 1)
    if at < len(tokens) and tokens[at][1][:2] == ["else", "if"]:
        other, at = _branch(tokens, at, tokens[at][1][1:])
        branch.other = [other]
        return branch, at
    if at < len(tokens) and tokens[at][1] == ["else"]:
        branch.other, at = _list(tokens, at + 1)
    if at >= len(tokens) or tokens[at][1] != ["end"]:
        raise GoTemplateError(f"{{{{ {' '.join(['...', *words])} }}}} has no end")
    return branch, at


class _Execution:
    """One rendering; variables are those of the whole template, which name each once."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self._variables: dict[str, Any] = {"$": data}

    def text(self, nodes: Sequence[_Node], dot: Any) -> str:
        return "".join(self._node(node, dot) for node in nodes)

    def _node(self, node: _Node, dot: Any) -> str:
        if isinstance(node, str):
            return node
        if isinstance(node, _Action):
            if len(node.words) > 2 and node.words[1] in (":=", "="):
                self._variables[node.words[0]] = self._pipeline(node.words[2:], dot)
                return ""
            return shown(self._pipeline(node.words, dot))
        if node.kind == "if":
            chosen = node.body if truth(self._pipeline(node.words, dot)) else node.other
            return self.text(chosen, dot)
        return self._range(node, dot)

    def _range(self, node: _Branch, dot: Any) -> str:
        names: list[str] = []
        words = list(node.words)
        if ":=" in words:
            names = [word for word in words[: words.index(":=")] if word != ","]
            words = words[words.index(":=") + 1 :]
        values = self._pipeline(words, dot) or []
        parts = []
        for index, value in enumerate(values):
            given = (index, value) if len(names) == 2 else (value,)
            self._variables |= dict(zip(names, given, strict=False))
            parts.append(self.text(node.body, value))
        return "".join(parts) if parts else self.text(node.other, dot)

    def _pipeline(self, words: Sequence[str], dot: Any) -> Any:
        """A function with its arguments, or one value."""
        values, rest = self._arguments(list(words), dot)
        if rest:
            raise GoTemplateError(f"unexpected {rest[0]} in {{{{ {' '.join(words)} }}}}")
        if callable(values[0]):
            return values[0](*values[1:])
        if len(values) != 1:
            raise GoTemplateError(f"{{{{ {' '.join(words)} }}}} is more than one value")
        return values[0]

    def _arguments(self, words: list[str], dot: Any) -> tuple[list[Any], list[str]]:
        values = []
        while words and words[0] != ")":
            word = words.pop(0)
            if word == "(":
                inner, words = self._arguments(words, dot)
                if not words:
                    raise GoTemplateError("a parenthesis is left open")
                words.pop(0)
                values.append(inner[0](*inner[1:]) if callable(inner[0]) else inner[0])
            else:
                values.append(self._value(word, dot))
        if not values:
            raise GoTemplateError("a value is missing")
        return values, words

    def _value(self, word: str, dot: Any) -> Any:
        if word[0] == '"':
            return json.loads(word)
        if word.isdigit():
            return int(word)
        if word in ("true", "false"):
            return word == "true"
        if word in _FUNCTIONS:
            return _FUNCTIONS[word]
        start, *fields = word.split(".")
        if start and start not in self._variables:
            raise GoTemplateError(f"{word}: no such function or variable is known here")
        value = self._variables[start] if start else dot
        for name in filter(None, fields):
            value = value.get(name) if isinstance(value, Mapping) else None
        return value


def truth(value: Any) -> bool:
    """Go's truth: what is not the zero of its type."""
    return bool(value)


def shown(value: Any) -> str:
    """A value as an action prints it."""
    if isinstance(value, bool):
        return str(value).lower()
    return "<no value>" if value is None else str(value)


def _and(*values: Any) -> Any:
    return next((value for value in values if not truth(value)), values[-1])


def _or(*values: Any) -> Any:
    return next((value for value in values if truth(value)), values[-1])


_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "eq": lambda first, *others: first in others,
    "ne": lambda first, other: first != other,
    "gt": lambda first, other: first > other,
    "le": lambda first, other: first <= other,
    "and": _and,
    "or": _or,
    "not": lambda value: not truth(value),
    "len": len,
    "slice": lambda values, start: values[start:],
}
