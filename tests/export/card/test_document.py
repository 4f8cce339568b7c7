"""Cards as they are read: what they say, what they leave out, and names that mark up nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from qpipe.core.store import Artifact
from qpipe.export.card.content import CardContent
from qpipe.export.card.document import document
from qpipe.export.card.labels import labels
from qpipe.export.card.making import placeless
from qpipe.export.card.tables import CardFile
from qpipe.export.licences import Licence
from qpipe.export.publishing import Publishing
from qpipe.export.source_model import SourceModel
from tests.export.card.contents import content, kld, levels, ppl, row

RANKED = levels(
    row("F16", 160, reference=True),
    row("Q8_0", 80, kld(0.001, 0.0001), ppl(10.001, 0.001, 0.01)),
    row("Q4_0", 40, kld(0.1), ppl(11.0, 1.0, 0.1)),
)
HOSTILE = (
    "<script>alert(1)</script>", "](javascript:alert(1))", "| a | b |", "**b** _i_ `c` ~~d~~",
    "![x](http://evil/x.png)", "a\n---\nb: c", "# title", "$$x$$", "&lt;b&gt;", "<!-- x",
)  # fmt: skip


def test_figures_stand_in_the_table() -> None:
    lines = document(content(RANKED)).splitlines()
    assert (
        "| [Q8_0](tiny-Q8_0.gguf) | 80&nbsp;B | 4.500 | 0.00100 [0.000804, 0.00120] | "
        in "".join(line for line in lines if line.startswith("| [Q8_0]"))
    )
    (smallest,) = [line for line in lines if line.startswith("| [Q4_0]")]
    assert smallest.endswith(
        "| 0.1000 [0.0980, 0.1020] | +1.0000 [+0.9000, +1.1000] | the smallest |"
    )


def test_what_was_not_measured_is_left_out() -> None:
    text = document(content(levels(row("Q8_0", 80), row("Q4_0", 40))))
    assert "was not measured" in text
    assert "| type | size | bits/weight |" in text
    for words in ("kld", "ppl", "for whom", "How it was measured", "Which file"):
        assert words not in text


def test_commands_name_the_repository() -> None:
    text = document(content(RANKED, publishing=Publishing("me/tiny-GGUF")))
    for command in (
        "llama-cli -hf me/tiny-GGUF:Q8_0",
        "ollama run hf.co/me/tiny-GGUF:Q8_0",
        "lms get https://huggingface.co/me/tiny-GGUF@Q8_0",
    ):
        assert command in text.splitlines()


def test_without_a_repository_commands_name_files() -> None:
    text = document(content(RANKED))
    assert "llama-cli -m tiny-Q8_0.gguf" in text.splitlines()
    assert "This is Q8_0; another file of the table in its place runs that one." in text
    assert "hf.co" not in text
    alone = document(content(levels(row("Q8_0", 80))))
    assert "This is" not in alone
    in_parts = content(levels(row("Q8_0", 80)))
    parts = [CardFile(f"tiny-Q8_0-{n:05d}-of-00002.gguf", "Q8_0", 40) for n in (2, 1)]
    text = document(replace(in_parts, listed={"Q8_0": parts}))
    assert "llama-cli -m tiny-Q8_0-00001-of-00002.gguf" in text.splitlines()
    assert "This is Q8_0, by the first of its 2 parts, which lie beside each other." in text


def two_of_one_format(repository: str | None = None) -> CardContent:
    """A level twice, of which one is pure."""
    own, pure = "Q4_K_M a_run", "Q4_K_M b_run"
    rows = [replace(row(name, size, kld(loss)), format="Q4_K_M")
            for name, size, loss in ((own, 41, 0.1), (pure, 40, 0.2))]  # fmt: skip
    ranked = levels(*rows)
    made = content(ranked, publishing=Publishing(repository))
    manifest = made.models[1].manifest
    other = replace(manifest, params={**manifest.params, "pure": True})
    models = [made.models[0], replace(made.models[1], artifact=Artifact(Path("/nowhere"), other))]
    models = [replace(m, row=replace(m.row, format="Q4_K_M")) for m in models]
    listed = {name: [CardFile(f"tiny-{word}.gguf", name, 40)]
              for name, word in ((own, "Q4_K_M"), (pure, "Q4_K_M_PURE"))}  # fmt: skip
    called = replace(ranked, labels=labels(models))
    return replace(made, models=models, levels=called, listed=listed)


def test_two_of_one_format_are_called_by_what_differs() -> None:
    text = document(two_of_one_format())
    for line in (
        "| [Q4_K_M](tiny-Q4_K_M.gguf) | ", "| [Q4_K_M, pure](tiny-Q4_K_M_PURE.gguf) | ",
    ):  # fmt: skip
        assert text.count(line) == 1, text
    assert "_run" not in text
    assert "llama-cli -m tiny-Q4_K_M.gguf" in text
    assert "llama-cli -hf me/tiny:Q4_K_M\n" in document(two_of_one_format("me/tiny"))


def test_a_file_with_more_than_its_format_in_its_name_is_found_by_it() -> None:
    given = two_of_one_format("me/tiny")
    (pure,) = [each for each in given.levels.rows if each.name == "Q4_K_M b_run"]
    alone = replace(given, models=given.models[1:], levels=replace(given.levels, rows=[pure]))
    lines = document(alone).splitlines()
    assert "llama-cli -hf me/tiny:Q4_K_M_PURE" in lines
    assert "ollama run hf.co/me/tiny:tiny-Q4_K_M_PURE.gguf" in lines
    assert "lms get https://huggingface.co/me/tiny" in lines


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_names_mark_up_nothing(number: int) -> None:
    words = HOSTILE[number]
    ranked = levels(row("Q8_0", 80, kld(0.001), notes=(words,)), row("Q4_0", 40, kld(0.1)))
    source = SourceModel(licence=Licence("other", words))
    text = document(content(ranked, name=words, source=source))
    html = MarkdownIt("commonmark").enable("table").render(text.split("---\n", 2)[2])
    plain = document(content(RANKED, source=SourceModel(licence=Licence("other", "x"))))
    expected = MarkdownIt("commonmark").enable("table").render(plain.split("---\n", 2)[2])
    for tag in (
        "<script",
        "<img",
        "<em>",
        "<strong>",
        "<hr",
        "<h1>",
        "<!--",
        'javascript:alert(1)"',
    ):
        assert html.count(tag) == expected.count(tag), tag
    assert html.count("<a ") == expected.count("<a ")


def test_what_a_licence_asks_for_is_shown() -> None:
    source = SourceModel("meta-llama/Llama-3.2-1B", "c" * 40, Licence("llama3.2"))
    text = document(content(RANKED, source=source))
    assert "**Built with Llama**" in text
    assert "Llama 3.2 is licensed under the Llama 3.2 Community License" in text


def test_a_licence_that_nobody_says() -> None:
    assert "does not say its licence" in document(content(RANKED, source=SourceModel()))


def test_backticks_in_a_prompt_end_no_block() -> None:
    text = document(replace(content(RANKED), prompt="a ```` b\n"))
    assert "`````text\na ```` b\n`````\n" in text


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("/home/alice/models/tiny", "…/tiny"),
        ("model.source=/home/alice/models/tiny", "model.source=…/tiny"),
        ("~/models/tiny", "…/tiny"),
        ("../models/tiny", "…/tiny"),
        ("someone/tiny", "someone/tiny"),
        ("https://huggingface.co/a/b", "https://huggingface.co/a/b"),
        ("hf:datasets/a/b@c/d.txt", "hf:datasets/a/b@c/d.txt"),
        ("builtin:texts/a.txt", "builtin:texts/a.txt"),
    ],
)
def test_folders_of_this_machine_are_no_ones_business(words: str, shown: str) -> None:
    assert placeless(words) == shown
