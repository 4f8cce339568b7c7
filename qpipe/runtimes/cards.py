"""Accelerators by name or memory, from data/cards.json: vendors' data sheets, a source for each."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from qpipe.errors import UsageError
from qpipe.support import strict_json

_FILE = Path(__file__).parent.parent / "data" / "cards.json"
_MEMORY = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]i?b?|b)", re.IGNORECASE)
_SEVERAL = re.compile(r"(\d{1,3})\s*[x×*]\s*(.+)|(.+?)\s*[x×*]\s*(\d{1,3})", re.IGNORECASE)
_WITH_MEMORY = re.compile(r"(.+?)[\s,(]+(\d+(?:\.\d+)?\s*[gt]i?b)\)?", re.IGNORECASE)
_MEMORY_IN_NAME = re.compile(r"\s+\d+GB\b")
_AND = re.compile(r"\s*[+,]\s*(?=[^\s])")
_POWERS = {"b": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_MAKERS = re.compile(r"\b(nvidia|amd|geforce|radeon|instinct|tesla|quadro|apple)\b")
_MOST = 64
_NEARLY = 0.05  # share of its memory that a driver may keep
_SMALL, _LESS, _MORE = 32 << 30, 2 / 3, 3 / 4
"""macOS lets a GPU have two thirds of 32 GB and less, three quarters of more: as llama.cpp logs it
(recommendedMaxWorkingSetSize: 11,453 MB of 16 GiB, 17,179 of 24, 51,539 of 64; macOS of 2025 and
later gives a little more, 12,713 and 55,662)."""


@dataclass(frozen=True)
class Card:
    """An accelerator: bytes of ``memory``, bytes a second that it reads (``bandwidth``), and dense
    operations a second in 16 bits (``flops``); None where only its memory is known. Where it shares
    all memory of the machine with the CPU, ``left`` are the bytes that it may not have."""

    name: str
    memory: int
    bandwidth: float | None = None
    flops: float | None = None
    source: str = ""
    left: int | None = None

    @property
    def note(self) -> str | None:
        """A sentence on memory that it shares; None of a card with its own."""
        if self.left is None:
            return None
        whole = self.memory + self.left
        return (
            f"{self.name}: macOS lets a GPU have {self.memory / (1 << 30):.3g} of its "
            f"{whole / (1 << 30):.3g} GiB (sysctl iogpu.wired_limit_mb gives it more)"
        )


def cards(text: str) -> list[Card]:
    """The cards that ``--gpu`` means: ``24GB``, ``RTX 4090``, ``2x H100``, ``M3 Max 64GB``, or
    several with ``+`` between them.

    Memory is counted as vendors of memory do: 24GB and 24GiB are 24 × 2³⁰ bytes. Raises UsageError
    for a text that means nothing, with what it may be.
    """
    whole = _by_call().get(_plain(text))
    parts = [text] if whole is not None else _AND.split(text.strip())
    return [card for part in parts for card in _several(part, text)]


def _several(part: str, text: str) -> list[Card]:
    match = _SEVERAL.fullmatch(part.strip())
    count, name = (1, part) if match is None else (
        int(match[1] or match[4]), match[2] or match[3])  # fmt: skip
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
    return [*_known()]


def words() -> list[str]:
    """A name in one word for each card that has one, as a shell may offer it."""
    entries: Sequence[Mapping[str, Any]] = strict_json.parse(_FILE.read_bytes())
    own = (each for each in entries if not each.get("shared"))
    calls = ([call for call in each["called"] if " " not in call] for each in own)
    return [names[0].upper() for names in calls if names]


def find(name: str) -> Card | None:
    """The card of that name, as a driver or a person says it; None of one that is not known, or
    that is not known without its memory."""
    known = _by_call().get(_plain(name))
    if known is not None:
        return None if known.get("shared") else _of(known, known["memory_mib"] << 20)
    return _with_memory(name)


def _with_memory(name: str) -> Card | None:
    """A card that is named with its memory: what it has of several variants, or shares."""
    match = _WITH_MEMORY.fullmatch(name.strip())
    known = None if match is None else _by_call().get(_plain(match[1]))
    if match is None or known is None:
        return None
    size = memory(match[2], option="--gpu")
    if known.get("shared"):
        return _of(known, int(size * (_LESS if size <= _SMALL else _MORE)), whole=size)
    usual = known["memory_mib"] << 20
    if abs(size - usual) < _NEARLY * usual:
        return _of(known, usual)
    plain = _MEMORY_IN_NAME.sub("", known["name"])
    return replace(_of(known, size), name=f"{plain} {size >> 30}GB")


def _card(name: str, text: str) -> Card:
    if _MEMORY.fullmatch(name):
        size = memory(name, option="--gpu")
        return Card(f"a card of {name}", size)
    card = find(name)
    if card is None:
        raise UsageError(f"--gpu {text}: {_unknown(name)}")
    return card


def _unknown(name: str) -> str:
    """Say what is wrong with a name that is none, and what may be meant."""
    if _plain(name) in _by_call():
        return (
            f"it shares its memory with the CPU, and comes with more or less of it: say how much, "
            f"as {name} 64GB"
        )
    if re.fullmatch(r"\d+(\.\d+)?", name):
        return f"{name} of what? As {name}GB"
    if re.search(r"laptop|mobile|max-q", name, re.IGNORECASE):
        return (
            "the cards of laptops are other ones than those of the same name, and are not known: "
            "give the memory, as 8GB"
        )
    usual = "RTX 4090, 2x H100, A100 40GB, RX 7900 XTX, M3 Max 64GB"
    close = difflib.get_close_matches(_plain(name), _by_call(), n=3, cutoff=0.7)
    meant = " or ".join(_by_call()[call]["name"] for call in close)
    hint = f"did you mean {meant}? Of others give the memory" if meant else f"as in {usual}"
    return f"neither an amount of memory, such as 24GB, nor a card that is known; {hint}"


def _plain(name: str) -> str:
    words = _MAKERS.sub(" ", name.lower().replace("-", " ").replace("_", " ")).split()
    return " ".join(words)


@cache
def _known() -> Mapping[str, Mapping[str, Any]]:
    entries: Sequence[Mapping[str, Any]] = strict_json.parse(_FILE.read_bytes())
    return {each["name"]: each for each in entries}


def _of(entry: Mapping[str, Any], size: int, *, whole: int | None = None) -> Card:
    """A card with so many bytes, of the ``whole`` that it shares."""
    flops = entry["tflops_16"]
    name = str(entry["name"])
    return Card(
        name if whole is None else f"{name} {whole >> 30}GB",
        size,
        entry["bandwidth_gb"] * 1e9,
        None if flops is None else flops * 1e12,
        entry["source"],
        None if whole is None else whole - size,
    )


@cache
def _by_call() -> Mapping[str, Mapping[str, Any]]:
    calls = {_plain(call): each for each in _known().values() for call in each["called"]}
    return calls | {_plain(name): each for name, each in _known().items()}
