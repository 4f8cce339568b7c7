"""A recipe's rules for single modules, as far as sizes hang on them.

As engines have it (qpipe/engines/common/module_rules.py): a pattern is searched anywhere in a name,
and the last rule that matches wins.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qpipe.errors import RecipeError
from qpipe.sizes.settings import Settings

BITS = (2, 3, 4, 8)
"""Of a weight, that engines pack by themselves; rules for modules may have others up to 8."""
GROUPS = (-1, 16, 32, 64, 128, 256, 512, 1024)
"""Group sizes that formats know (qpipe/engines/common/module_rules.py)."""

_SKIP_LISTS = ("modules_to_not_convert", "llm_int8_skip_modules")


@dataclass(frozen=True)
class ModuleWish:
    """The settings that differ for a module; with ``skip`` it stays as it is."""

    skip: bool = False
    bits: int | None = None
    group_size: int | None = None


_PLAIN = ModuleWish()


@dataclass(frozen=True)
class ModuleWishes:
    """Rules in their order."""

    rules: tuple[tuple[re.Pattern[str], ModuleWish], ...] = ()

    @classmethod
    def of(cls, settings: Settings) -> ModuleWishes:
        """The rules of ``modules``, and other tools' lists of modules to skip. Raises
        RecipeError."""
        given = settings.fields.get("modules") or {}
        if not isinstance(given, Mapping | list | tuple):
            raise settings.bad("modules", "rules: {REGEX: skip} or {REGEX: {bits: 8}}")
        pairs = list(given.items()) if isinstance(given, Mapping) else list(given)
        for name in _SKIP_LISTS:
            listed = settings.fields.get(name) or []
            names = [listed] if isinstance(listed, str) else listed
            pairs += [(re.escape(str(each)), "skip") for each in names]
        try:
            return cls(tuple((re.compile(pattern), _wish(rule)) for pattern, rule in pairs))
        except (re.error, TypeError, ValueError) as error:
            raise RecipeError(f"quantize.modules: {given!r:.80} has no rules ({error})") from None

    def of_module(self, name: str) -> ModuleWish:
        """The rule that counts for a module."""
        matching = [wish for pattern, wish in self.rules if pattern.search(name)]
        return matching[-1] if matching else _PLAIN


def _wish(rule: Any) -> ModuleWish:
    """Raises ValueError for what is no rule."""
    if rule == "skip":
        return ModuleWish(skip=True)
    fields = {"bits": rule} if type(rule) is int else rule
    if not isinstance(fields, Mapping) or fields.keys() - {"skip", "bits", "group_size"}:
        raise ValueError(f"{rule!r:.60} is neither skip nor bits and group_size")
    bits, size = fields.get("bits"), fields.get("group_size")
    if bits is not None and not (type(bits) is int and 2 <= bits <= 8):
        raise ValueError(f"bits are {bits!r}, not 2 to 8")
    if size is not None and size not in GROUPS:
        raise ValueError(f"group_size is {size!r}, not one of {', '.join(map(str, GROUPS))}")
    return ModuleWish(skip=fields.get("skip") is True, bits=bits, group_size=size)
