"""Jinja for templates out of checkpoints: in its sandbox, and with an end.

Jinja's sandbox keeps a template from Python's objects and bounds ``range``, not how often loops
within loops go round, how long a text grows that is put to itself, or the width of a format. So
each turn of a loop and each call of a macro is counted, and what is made has a largest size.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

STEPS = 300_000
"""Turns of loops and calls of macros in one rendering; a prompt of 1,000 messages takes some
10,000."""
SIZE = 10_000_000
"""Characters of a text, entries of a list, and the largest width or count."""

_WIDE = re.compile(r"\d{7}")


class _Generation(Extension):
    """``{% generation %}``, by which transformers marks an assistant's words: they stay as they
    are."""

    tags = {"generation"}  # noqa: RUF012  as Jinja declares it

    def parse(self, parser: Parser) -> nodes.Node:
        """Its body."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body).set_lineno(line)


class _Bounded(ImmutableSandboxedEnvironment):
    """Counts the steps of a rendering."""

    # Jinja 3.1.6's sandbox bounds `range` alone.
    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
        )
        self.steps = 0
        self.filters = {name: _bounded(each) for name, each in self.filters.items()}

    def step(self) -> bool:
        """Count one; always true, so that it can stand in a condition."""
        self.steps += 1
        if self.steps > STEPS:
            raise TemplateError(f"it does not end: stopped after {STEPS:,} steps")
        return True

    def join(self, *parts: Any) -> str:
        """Join values as texts, for the operator ``~``."""
        return str(_small("".join(map(str, parts))))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """An operator on values of a size that is bounded."""
        if operator == "*":
            _refuse_more(_length(left) * _factor(right), _length(right) * _factor(left))
        elif operator == "**":
            _refuse_more(_factor(left) and _factor(right) * 1000)
        elif operator == "%" and isinstance(left, str) and _WIDE.search(left):
            _refuse_more(SIZE + 1)
        return _small(super().call_binop(context, operator, left, right))

    def call(self, context: Any, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """A function or method, of small things."""
        # Jinja 3.1.6 checks a format's fields, not its widths.
        itself = getattr(function, "__self__", None)
        if isinstance(itself, str) and "format" in function.__name__ and _WIDE.search(itself):
            _refuse_more(SIZE + 1)
        _refuse_more(*map(_factor, (*args, *kwargs.values())))
        return _small(super().call(context, function, *args, **kwargs))

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for loop in tree.find_all(nodes.For):
            if loop.test is not None:
                loop.test = nodes.And(_environment_call("step", loop.lineno), loop.test).set_lineno(
                    loop.lineno
                )
        for kind in (nodes.For, nodes.Macro, nodes.CallBlock):
            one: Any
            for one in tree.find_all(kind):
                first = nodes.ExprStmt(_environment_call("step", one.lineno))
                one.body.insert(0, first.set_lineno(one.lineno))
        _replace_joins(tree)
        tree.set_environment(self)
        return tree


def compiled(
    source: str,
    *,
    filters: Mapping[str, Callable[..., Any]],
    names: Mapping[str, Callable[..., Any]],
) -> Callable[..., str]:
    """Return a function that renders a template, with filters and functions beside Jinja's own.

    Raises TemplateError for one that is none; rendering it does once it takes more than `STEPS` or
    makes more than `SIZE`, and whatever its expressions raise.
    """
    environment = _Bounded()
    environment.filters |= filters
    environment.globals |= names
    template = environment.from_string(source)

    def render(**variables: Any) -> str:
        environment.steps = 0
        return template.render(**variables)

    return render


def _environment_call(name: str, line: int, *arguments: nodes.Expr) -> nodes.Call:
    call = nodes.Call(nodes.EnvironmentAttribute(name), [*arguments], [], None, None)
    call.set_lineno(line)
    return call


def _replace_joins(node: nodes.Node) -> None:
    """Have ``a ~ b`` done by `_Bounded.join`, at every depth."""
    for field, value in node.iter_fields():
        if isinstance(value, list):
            setattr(node, field, [_replaced(one) for one in value])
        else:
            setattr(node, field, _replaced(value))


def _replaced(value: Any) -> Any:
    if not isinstance(value, nodes.Node):
        return value
    _replace_joins(value)
    if isinstance(value, nodes.Concat):
        return _environment_call("join", value.lineno, *value.nodes)
    return value


def _bounded(function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that takes no large number and makes no large thing; keeps what Jinja marked it
    with."""

    @functools.wraps(function)
    def bounded(*args: Any, **kwargs: Any) -> Any:
        _refuse_more(*map(_factor, (*args[1:], *kwargs.values())))
        return _small(function(*args, **kwargs))

    return bounded


def _factor(value: Any) -> int:
    return abs(int(value)) if isinstance(value, (int, float)) and value == value else 0


def _length(value: Any) -> int:
    return len(value) if isinstance(value, (str, list, tuple)) else 0


def _small(value: Any) -> Any:
    _refuse_more(_length(value))
    return value


def _refuse_more(*sizes: int) -> None:
    if max(sizes, default=0) > SIZE:
        raise TemplateError(f"it makes texts or lists of more than {SIZE:,}")
