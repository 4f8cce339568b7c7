"""What is left out of addresses in texts: whole queries and logins, of whatever characters."""

from __future__ import annotations

import pytest

from qpipe.support.addresses import slip, without_secrets


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://h/m.gguf?sig=abc,SECRET", "https://h/m.gguf?…"),
        ("https://h/m.gguf?sig=abc'SECRET", "https://h/m.gguf?…"),
        ("https://h/m.gguf?sig=abc]SECRET", "https://h/m.gguf?…"),
        ("https://h/o'neil/m.gguf?sig=SECRET", "https://h/o'neil/m.gguf?…"),
        ("https://h/m?a=SECRET#sha256=ab", "https://h/m?…#sha256=ab"),
        ('model.source="https://h/m?a=SECRET,SECRET" b=1', 'model.source="https://h/m?…" b=1'),
        ("model.source='https://h/m?a=SECRET' b=1", "model.source='https://h/m?…' b=1"),
        ("[https://h/a?s=SECRET,https://h/b?s=SECRET]", "[https://h/a?…,https://h/b?…]"),
        ("['https://h/a?s=SECRET','https://h/b']", "['https://h/a?…','https://h/b']"),
        ("{a: https://h/m?s=SECRET, b: 2}", "{a: https://h/m?…, b: 2}"),
        ("https://me:SECRET@h/m", "https://…@h/m"),
        ("https://me:SEC@RET@h/m", "https://…@h/m"),
        ("https://me:SEC/RET@h/m", "https://…@h/m"),
        ("https://me:SEC?RET@h/m", "https://…@h/m"),
        ("https://me:SEC'RET@h/m", "https://…@h/m"),
    ],
)
def test_no_part_of_a_secret_stays(text: str, shown: str) -> None:
    assert without_secrets(text) == shown
    assert without_secrets(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:80/a@v1/m.gguf",
        "hf://datasets/a/b@v1/t.txt",
        "http://[::1]:80/a@b",
        "http://h:8080 x@y",
        "['http://h:80', 'x@y']",
        "no address?a=1",
    ],
)
def test_the_rest_of_an_address_stays(text: str) -> None:
    assert without_secrets(text) == text


def test_a_slip_of_slashes_is_told_and_shows_no_secret() -> None:
    assert slip("https:/h/m.gguf") == "https://"
    assert slip("HTTPS:///h/m.gguf") == "https://"
    assert slip("https://h/m.gguf") is None
    assert slip("./https") is None
    assert without_secrets("https:/h/m?sig=SECRET") == "https:/h/m?…"
    assert without_secrets("https:/u:SECRET@h/m") == "https:/…@h/m"
