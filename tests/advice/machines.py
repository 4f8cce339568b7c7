"""Machines of the golden cases, and advice on a model whose shapes ship with qpipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qpipe.advice.answer import Advice
from qpipe.session.advising.function import advise

MODEL = "meta-llama/Llama-3.1-8B"
# No such folder: no own runs take part.
NO_STORE = Path("/nonexistent/store")

LAPTOP: dict[str, Any] = {"ram": "8GB"}
CARD_24: dict[str, Any] = {"gpu": "24GB"}
H100: dict[str, Any] = {"gpu": "H100"}
A100: dict[str, Any] = {"gpu": "A100"}
BLACKWELL: dict[str, Any] = {"gpu": "RTX 5090"}
CPU_32: dict[str, Any] = {"ram": "32GB"}


def of(machine: dict[str, Any], model: str = MODEL, **needs: Any) -> Advice:
    return advise(model, store=NO_STORE, **machine, **needs)


def formats(answer: Advice) -> list[str]:
    return [row.candidate.format for row in answer.rows]


def left_out(answer: Advice) -> dict[str, str]:
    """The rule that excludes a format, by its name."""
    return {each.format: each.rule.id for each in answer.ranking.left_out if each.rule}
