"""docs/engines.md has the versions that are pinned and installed."""

from __future__ import annotations

from tests import versions


def test_the_document_has_the_tables() -> None:
    """`make versions` writes them."""
    assert versions.tables() in versions.DOCUMENT.read_text()


def test_a_bound_of_another_package_is_named() -> None:
    """The wheel's metadata of llm-compressor 0.14.0.1."""
    (held,) = versions.ceilings("compressed-tensors")
    assert held == "llmcompressor 0.14.0.1 wants `==0.19.0`"
