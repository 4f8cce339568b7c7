"""Addresses (``https://…``) in what is shown and kept: without what may be a secret in them."""

from __future__ import annotations

import re

HIDDEN = "…"
"""Stands for the query or the login of an address."""


# What stands before the host, and what was meant to: behind a colon without a port, a password
# in which a `/`, `?` or `#` ends the host too early.
_USER = r"""[^/?#\s"]*|[^/?#\s"@:\[]*:(?!\d*(?:[/?#\s'",\])]|$))[^\s"]*"""
# One slash too few, or too many, is a slip that must not show a secret either.
_LOGIN = re.compile(rf"(\w+:/{{1,3}})(?:{_USER})@")
# A query ends with the address: at a space or a quote, or before the next address or the bracket of
# a list. A comma, an apostrophe or a bracket alone may be a part of it.
_END = r"""#|,(?:\s|\w+://|$)|'(?:[\s\])}]|,[\s'"]|$)|[\])}]+(?:[\s,'"]|$)"""
_QUERY = re.compile(rf"""(\w+:/[^\s"?]*)\?(?!{HIDDEN})(?:(?!{_END})[^\s"])*""")


def is_address(text: str) -> bool:
    """True if a text begins as an address does, whatever is wrong with it."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) is not None


def slip(text: str) -> str | None:
    """The beginning that an address was to have (``https://``), where it has other slashes; None
    for all else."""
    match = re.match(r"(https?|s3|gs):(?!//[^/])", text, re.IGNORECASE)
    return None if match is None else f"{match[1].lower()}://"


def without_secrets(text: str) -> str:
    """A text with the queries and logins of all addresses in it left out: signatures, passwords.

    Where it cannot be told whether a query has ended (an address without quotes may hold commas and
    apostrophes), more is left out.
    """
    if ":/" not in text:
        return text
    text = _LOGIN.sub(rf"\1{HIDDEN}@", text)
    return _QUERY.sub(rf"\1?{HIDDEN}", text)
