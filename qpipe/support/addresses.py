"""Addresses (``https://…``) in what is shown and kept: without what may be a secret in them."""

from __future__ import annotations

import re

HIDDEN = "…"
"""Stands for the query or the login of an address."""


def is_address(text: str) -> bool:
    """True if a text begins as an address does, whatever is wrong with it."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) is not None


def without_secrets(text: str) -> str:
    """A text with the queries and logins of all addresses in it left out: signatures, passwords."""
    if "://" not in text:
        return text
    text = re.sub(r"(\w+://)[^/\s'\"@]*@", rf"\1{HIDDEN}@", text)
    return re.sub(rf"(\w+://[^\s'\"?]*)\?(?!{HIDDEN})[^\s'\"#,\]]*", rf"\1?{HIDDEN}", text)
