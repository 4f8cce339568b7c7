"""The table of licences, and who may upload under which."""

from __future__ import annotations

import pytest

from qpipe.errors import UsageError
from qpipe.export.licences import IDENTIFIER, Licence, identifiers, of_text

SHARING = {
    "apache-2.0": "free",
    "mit": "free",
    "cc-by-4.0": "free",
    "cc-by-nc-4.0": "conditional",
    "gpl-3.0": "conditional",
    "llama3.2": "conditional",
    "gemma": "conditional",
    "cc-by-nd-4.0": "forbidden",
    "cc-by-nc-nd-4.0": "forbidden",
    "unknown": "unknown",
    "grok2-community": "unknown",
    "no-such-licence": "unknown",
}


@pytest.mark.parametrize("name", sorted(SHARING))
def test_sharing(name: str) -> None:
    terms = Licence(name).terms
    assert terms.sharing == SHARING[name]
    objections = [*terms.objections("me/Llama-model")]
    assert bool(objections) == (SHARING[name] in ("forbidden", "unknown"))


@pytest.mark.parametrize("name", identifiers())
def test_every_entry_has_its_source(name: str) -> None:
    terms = Licence(name).terms
    assert IDENTIFIER.fullmatch(name)
    assert terms.source is not None
    assert terms.source.startswith("https://")
    assert terms.sharing in ("free", "conditional", "forbidden")
    assert terms.conditions


def test_nothing_is_known_of_none() -> None:
    assert Licence().terms.sharing == "unknown"
    assert Licence("other").terms.sharing == "unknown"
    assert Licence("other", "my-own").terms.name == "my-own"


def test_other_by_its_name() -> None:
    terms = Licence("other", "qwen-research").terms
    assert (terms.sharing, terms.display) == ("conditional", "Built with Qwen")


@pytest.mark.parametrize(
    ("name", "repository", "fits"),
    [
        ("llama3.2", "me/Llama-3.2-1B-GGUF", True),
        ("llama3.2", "me/llama-tiny", True),
        ("llama3.2", "me/tiny-llama", False),
        ("llama3", "me/Llama-3-8B-GGUF", True),
        ("llama3", "me/llama3-8B", True),
        ("llama3", "me/Llama-8B-GGUF", False),
        ("llama2", "me/anything", True),
    ],
)
def test_a_name_that_a_licence_asks_for(name: str, repository: str, *, fits: bool) -> None:
    assert (not [*Licence(name).terms.objections(repository)]) == fits


@pytest.mark.parametrize(
    "given",
    [
        ("Apache 2.0", None, None),
        ("other", None, None),
        (None, "name", None),
        ("mit", "name", None),
        ("other", "name", "javascript:alert(1)"),
    ],
)
def test_options_that_name_none(given: tuple[str | None, str | None, str | None]) -> None:
    with pytest.raises(UsageError, match="--license"):
        Licence.given(*given)


def test_options_that_name_one() -> None:
    assert Licence.given(None, None, None) is None
    assert Licence.given("mit", None, None) == Licence("mit")
    own = Licence.given("other", "my-own", "https://example.org/terms")
    assert own == Licence("other", "my-own", "https://example.org/terms")


def test_texts() -> None:
    assert of_text("Salesforce/wikitext", []) == "CC BY-SA 3.0 and GFDL"
    assert of_text(None, ["0" * 64]) is None


def test_shipped_texts_are_known_by_their_bytes() -> None:
    import hashlib

    from qpipe.sources.pinning import DATA

    for path in sorted((DATA / "texts").glob("*.txt")):
        assert of_text(None, [hashlib.sha256(path.read_bytes()).hexdigest()]) == "CDLA-Sharing-1.0"
