"""Metadata of cards: what went in comes out, for PyYAML, for huggingface_hub and for the hub."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import huggingface_hub
import pytest
import yaml
from huggingface_hub import ModelCard
from hypothesis import given
from hypothesis import strategies as st

from qpipe.export.card.document import document
from qpipe.export.card.front_matter import front_matter, metadata
from qpipe.export.licences import Licence
from qpipe.export.publishing import Publishing
from qpipe.export.source_model import SourceModel
from tests.export.card.contents import content, kld, levels, row
from tests.hub import TOKEN, Hub, serve

RANKED = levels(row("Q8_0", 80, kld(0.001)), row("Q4_0", 40, kld(0.1)))
ODD = (
    "no", "Yes", "null", "~", "1e5", "12e4567", "0x1F", "1_000", "12:30:45", "2026-11-28", "- a",
    "a: b", "#a", "a #b", "---", "a\n---\nb", "'", '"', "\\", "{a}", "[a]", "&a", "*a", "!!int 3",
    "%TAG", "@a", "`a`", "\t", "é", "\u2028", "\x85", "\x07", "\U0001f600", "\U000e0001", " a ", "",
)  # fmt: skip


class ToLoopback(httpx.BaseTransport):
    """Takes what is sent to huggingface.co to a hub here: huggingface_hub (1.33) validates cards
    there, whatever HF_ENDPOINT says."""

    def __init__(self, hub: Hub) -> None:
        self._hub, self._inner = httpx.URL(hub.url), httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        assert request.url.host == "huggingface.co"
        request.url = request.url.copy_with(scheme="http", host=self._hub.host, port=self._hub.port)
        request.headers["Authorization"] = f"Bearer {TOKEN}"
        return self._inner.handle_request(request)

    def close(self) -> None:
        self._inner.close()


@pytest.fixture
def validating() -> Iterator[Hub]:
    with serve({}) as hub:
        huggingface_hub.set_client_factory(lambda: httpx.Client(transport=ToLoopback(hub)))
        try:
            yield hub
        finally:
            huggingface_hub.close_session()
            huggingface_hub.set_client_factory(httpx.Client)


def read(text: str) -> dict[str, Any]:
    fields: dict[str, Any] = ModelCard(text).data.to_dict()  # type: ignore[no-untyped-call]
    return fields


def with_name(name: str) -> SourceModel:
    return SourceModel("someone/tiny", "c" * 40, Licence("other", name, "LICENSE"), ("no", "en"))


@pytest.mark.parametrize("number", range(len(ODD)))
def test_odd_words_come_back(number: int) -> None:
    words = content(RANKED, source=with_name(ODD[number]))
    text = document(words)
    assert read(text) == metadata(words)
    assert yaml.safe_load(text.split("---\n")[1]) == metadata(words)


@given(st.text())
def test_any_words_come_back(name: str) -> None:
    words = content(RANKED, source=with_name(name))
    assert read(front_matter(words)) == metadata(words)


def test_what_is_said_of_a_model_on_the_hub() -> None:
    publishing = Publishing("me/tiny-GGUF", quantized_by="me")
    assert metadata(content(RANKED, publishing=publishing)) == {
        "base_model": "someone/tiny",
        "base_model_relation": "quantized",
        "quantized_by": "me",
        "license": "apache-2.0",
        "language": ["en"],
        "library_name": "gguf",
        "pipeline_tag": "text-generation",
        "tags": ["gguf", "llama.cpp", "quantized", "qpipe"],
    }


def test_nothing_is_made_up_for_a_folder() -> None:
    fields = metadata(content(RANKED, source=SourceModel()))
    assert not {"base_model", "base_model_relation", "license", "quantized_by"} & fields.keys()


def test_the_hub_takes_the_card(validating: Hub) -> None:
    ModelCard(document(content(RANKED))).validate()
    assert validating.requests == ["POST /api/validate-yaml"]


def test_the_hub_would_not_take_every_card(validating: Hub) -> None:
    """The check above can fail: a licence that is no identifier."""
    odd = replace(content(RANKED), source=SourceModel(licence=Licence("My Licence")))
    with pytest.raises(ValueError, match="license"):
        ModelCard(document(odd)).validate()
