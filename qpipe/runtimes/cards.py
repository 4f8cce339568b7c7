"""Accelerators by name or memory, from data/cards.json: vendors' data sheets, a source for each."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from qpipe.errors import UsageError, nearest
from qpipe.support import strict_json

_FILE = Path(__file__).parent.parent / "data" / "cards.json"
_MEMORY = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]i?b?|b)", re.IGNORECASE)
_SEVERAL = re.compile(r"(\d{1,3})\s*[x×]\s*(.+)", re.IGNORECASE)
_POWERS = {"b": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_MAKERS = re.compile(r"\b(nvidia|amd|geforce|radeon|instinct|tesla|quadro)\b")
_MOST = 64


@dataclass(frozen=True)
class Card:
    """An accelerator: bytes of ``memory``, bytes a second that it reads (``bandwidth``), and dense
    operations a second in 16 bits (``flops``); None where only its memory is known."""

    name: str
    memory: int
    bandwidth: float | None = None
    flops: float | None = None
    source: str = ""


def cards(text: str) -> list[Card]:
    """The cards that ``--gpu`` means: ``24GB``, ``RTX 4090``, ``2x H100``.

    Memory is counted as vendors of memory do: 24GB and 24GiB are 24 × 2³⁰ bytes. Raises UsageError
    for a text that means nothing, with what it may be.
    """
    match = _SEVERAL.fullmatch(text.strip())
    count, name = (int(match[1]), match[2]) if match else (1, text)
    if not 1 <= count <= _MOST:
        raise UsageError(f"--gpu {text}: {count} cards; give 1 to {_MOST}")
    return [_card(name.strip(), text)] * count


def memory(text: str, *, option: str) -> int:
    """Bytes of ``24GB`` as vendors of memory count them. Raises UsageError, which names ``option``
    and ``text``."""
    match = _MEMORY.fullmatch(text.strip())
    size = int(float(match[1]) * 1024 ** _POWERS[match[2][0].lower()]) if match else 0
    if size < 1 << 20:
        raise UsageError(
            f"{option} {text}: this is no amount of memory; write a number and a unit, as 32GB"
        )
    return size


def names() -> list[str]:
    """The names of all cards that are known, as data sheets have them."""
    return [card.name for card in _known().values()]


def words() -> list[str]:
    """A name in one word for each card that has one, as a shell may offer it."""
    entries: Sequence[Mapping[str, Any]] = strict_json.parse(_FILE.read_bytes())
    calls = ([call for call in each["called"] if " " not in call] for each in entries)
    return [names[0].upper() for names in calls if names]


def find(name: str) -> Card | None:
    """The card of that name, as a driver or a person says it; None of one that is not known."""
    return _by_call().get(_plain(name))


def _card(name: str, text: str) -> Card:
    if _MEMORY.fullmatch(name):
        size = memory(name, option="--gpu")
        return Card(f"a card of {name}", size)
    card = find(name)
    if card is None:
        hint = nearest(_plain(name), _by_call(), most=16)
        raise UsageError(
            f"--gpu {text}: neither an amount of memory, such as 24GB, nor a card that is known; "
            f"{hint}"
        )
    return card


def _plain(name: str) -> str:
    words = _MAKERS.sub(" ", name.lower().replace("-", " ").replace("_", " ")).split()
    return " ".join(words)


@cache
def _known() -> Mapping[str, Card]:
    entries: Sequence[Mapping[str, Any]] = strict_json.parse(_FILE.read_bytes())
    return {each["name"]: _of(each) for each in entries}


def _of(entry: Mapping[str, Any]) -> Card:
    flops = entry["tflops_16"]
    return Card(
        entry["name"],
        entry["memory_mib"] << 20,
        entry["bandwidth_gb"] * 1e9,
        None if flops is None else flops * 1e12,
        entry["source"],
    )


@cache
def _by_call() -> Mapping[str, Card]:
    entries: Sequence[Mapping[str, Any]] = strict_json.parse(_FILE.read_bytes())
    calls = {_plain(call): each["name"] for each in entries for call in each["called"]}
    calls |= {_plain(each["name"]): each["name"] for each in entries}
    return {call: _known()[name] for call, name in calls.items()}
