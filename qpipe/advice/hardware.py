"""What a machine has to run a model with: its GPUs, by name or memory, and its RAM."""

from __future__ import annotations

import re
from dataclasses import dataclass

from qpipe.advice.rulebook import CardGeneration, Rulebook
from qpipe.runtimes.cards import Card
from qpipe.runtimes.overheads import GPU_SHARE, known_bytes


@dataclass(frozen=True)
class AdvisedMachine:
    """GPUs, which may be none, and bytes of RAM (None: not told, and not counted on)."""

    cards: tuple[Card, ...] = ()
    ram: int | None = None
    detected: bool = False

    def gpu_room(self, book: Rulebook, runtime: str) -> int:
        """Bytes of all GPUs that a runtime may take: the share that vLLM takes; of others what its
        margin leaves."""
        if runtime == "vllm":
            return int(sum(card.memory for card in self.cards) * GPU_SHARE)
        margin = self.margin(book, runtime)
        return sum(max(card.memory - margin, 0) for card in self.cards)

    def margin(self, book: Rulebook, runtime: str) -> int:
        """Bytes of each GPU that are left free: none where what the runtime itself takes is known,
        and so is part of its memory (`runtimes.overheads`)."""
        known = known_bytes("llama.cpp" if runtime == "ollama" else runtime, "gpu")
        return 0 if known else book.assumed.gpu_margin

    def cpu_room(self, book: Rulebook) -> int:
        """Bytes of RAM less what is left to the system."""
        return 0 if self.ram is None else max(self.ram - book.assumed.system_memory, 0)

    def generation(self, book: Rulebook) -> CardGeneration | None:
        """Return what is known of the generation of its first GPU by its name."""
        return None if not self.cards else generation(self.cards[0].name, book)

    def words(self) -> str:
        """The machine in a few words: ``RTX 4090 (24 GiB), 32 GiB RAM``."""
        gpus = [f"{card.name} ({gib(card.memory)})" for card in dict.fromkeys(self.cards)]
        count = f"{len(self.cards)} x " if len(self.cards) > 1 else ""
        said = [count + ", ".join(gpus)] if gpus else ["no GPU"]
        if self.ram is not None:
            said.append(f"{gib(self.ram)} RAM")
        return ", ".join(said)


def generation(name: str, book: Rulebook) -> CardGeneration | None:
    """The generation of cards of that name; None where no expression of the rules matches."""
    for each in book.generations:
        if any(re.search(rf"\b(?:{pattern})\b", name, re.IGNORECASE) for pattern in each.names):
            return each
    return None


def gib(size: int) -> str:
    """Bytes as ``24 GiB`` or ``7.9 GiB``."""
    number = size / (1 << 30)
    return f"{number:.0f} GiB" if abs(number - round(number)) < 0.05 else f"{number:.1f} GiB"
