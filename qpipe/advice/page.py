"""docs/choosing.md and its Chinese twin, from the rules and the published figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from qpipe.advice.evidence import QualityEvidence, Signature
from qpipe.advice.hardware import gib
from qpipe.advice.page_words import COLUMNS, INTRODUCTION, LOSSES, ORDER, TITLES
from qpipe.advice.rulebook import AdviceRule, Rulebook

Language = Literal["en", "zh"]
Known = Mapping[Signature, Sequence[QualityEvidence]]

PAGES: Mapping[Language, str] = {"en": "choosing.md", "zh": "choosing.zh.md"}

# What the table of losses shows: of which model, and which formats.
_MODEL = "meta-llama/Meta-Llama-3-8B"
_TYPES = (
    *("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_K_S", "IQ4_XS", "Q4_0", "Q3_K_M", "IQ3_M", "Q2_K"),
    *("IQ2_M",),
)


def page(book: Rulebook, known: Known, language: Language) -> str:
    """The page in a language: rules by topic, what is lost, how rows are ordered, sources."""
    numbers = {name: number for number, name in enumerate(_cited(book), 1)}
    parts = [INTRODUCTION[language]]
    for topic, title in TITLES[language].items():
        rules = [rule for rule in book.rules if rule.topic == topic]
        parts.append("\n".join([f"## {title}", *_rules(rules, numbers, language)]))
    parts.append(_losses(known, language))
    assumed = book.assumed
    parts.append(
        ORDER[language].format(system=gib(assumed.system_memory), margin=gib(assumed.gpu_margin))
    )
    parts.append("\n".join([f"## {COLUMNS[language]['sources']}", *_sources(book, numbers)]))
    return "\n\n".join(parts) + "\n"


def _cited(book: Rulebook) -> list[str]:
    """The sources in the order in which the page names them first."""
    topics = TITLES["en"]
    ordered = [rule for topic in topics for rule in book.rules if rule.topic == topic]
    last = [book.generations_source, book.assumed.gpu_margin_source]
    return [*dict.fromkeys([*(rule.source for rule in ordered), *last])]


def _rules(
    rules: Sequence[AdviceRule], numbers: Mapping[str, int], language: Language
) -> Iterator[str]:
    for rule in rules:
        said = rule.says.en if language == "en" else rule.says.zh
        space = " " if language == "en" else ""
        yield f"- {said}{space}[{numbers[rule.source]}]"


def _losses(known: Known, language: Language) -> str:
    """The table of what types of llama-quantize lose, as it was published."""
    head = COLUMNS[language]
    lines = [
        LOSSES[language],
        "",
        f"| {head['type']} | {head['plain']} | {head['imatrix']} |",
        "|---|--:|--:|",
    ]
    for name in _TYPES:
        figures = [
            each
            for each in known.get(("gguf", name), ())
            if each.model == _MODEL and each.metric == "kld"
        ]
        plain = next((e.value for e in figures if not e.calibrated), None)
        with_matrix = next((e.value for e in figures if e.calibrated), None)
        lines.append(f"| {name} | {_figure(plain)} | {_figure(with_matrix)} |")
    return "\n".join(lines)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _sources(book: Rulebook, numbers: Mapping[str, int]) -> Iterator[str]:
    for name, number in numbers.items():
        source = book.sources[name]
        yield f"{number}. [{source.title}]({source.url}), {source.when}"
