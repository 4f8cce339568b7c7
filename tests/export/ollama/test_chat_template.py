"""Jinja's templates as Go's: the same prompt, or none."""

from __future__ import annotations

import pytest

from qpipe.export.ollama.chat_template import GoTemplate, go_template
from qpipe.export.ollama.go_prompt import prompt
from qpipe.hf.chat import Template
from tests.export.ollama.families import FAMILIES, SYSTEM, UNKNOWN
from tests.export.ollama.golden import TOKENS

_ALONE = [{"role": "user", "content": "hi"}]


def made_of(template: str, bos: str | None = "<bos>") -> GoTemplate:
    return go_template(Template(template, TOKENS, block=""), bos=bos)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_families(family: str) -> None:
    made = made_of(FAMILIES[family])
    assert made.text is not None, made.difference
    assert made.checked >= 5
    assert made.system == SYSTEM.get(family, "")
    # transformers' own way to this prompt, without what tokenizers put in front
    asked = Template(FAMILIES[family], TOKENS).render_all(_ALONE, add_generation_prompt=True)
    assert prompt(made.text, _ALONE, made.system) == asked.removeprefix("<bos>")


@pytest.mark.parametrize("family", ["gemma", "llama 2", "mistral, third"])
def test_bos_is_in_the_template_where_nothing_else_adds_it(family: str) -> None:
    without, with_it = made_of(FAMILIES[family]), made_of(FAMILIES[family], None)
    assert without.text is not None and with_it.text is not None
    assert not prompt(without.text, _ALONE).startswith("<bos>")
    assert prompt(with_it.text, _ALONE) == "<bos>" + prompt(without.text, _ALONE)


@pytest.mark.parametrize(
    ("family", "words"),
    [
        ("llama 3", "the same every day in a Go template: 2024-07-26"),
        ("gemma, second", "takes no system message"),
        ("gemma", "takes spaces and line breaks from the ends"),
        ("mistral, third", "another prompt than by the file's own template: an empty system"),
    ],
)
def test_what_is_otherwise_is_told(family: str, words: str) -> None:
    assert [note for note in made_of(FAMILIES[family]).notes if words in note]


@pytest.mark.parametrize(
    ("template", "conversation", "words"),
    [
        ("counts", "three questions", "[1 system]"),
        ("last only", "two questions", "Judge: Kq2user2qK"),
        ("changes", "a question", "KQ0USER0QK"),
        ("names needed", "a question", "'guideline' is undefined"),
    ],
)
def test_no_template_that_says_something_else(template: str, conversation: str, words: str) -> None:
    made = made_of(UNKNOWN[template])
    assert made.text is None
    assert made.difference is not None
    assert made.difference.conversation == conversation
    assert words in made.difference.jinja
