"""The machine that advice is for: this one, or the one that is described."""

from __future__ import annotations

from qpipe.advice.hardware import AdvisedMachine
from qpipe.advice.needs import Needs
from qpipe.errors import UsageError
from qpipe.machine import capacity, gpu_memory, gpus
from qpipe.runtimes.cards import Card, cards, find, memory
from qpipe.session.estimating.conditions import NO_GPU


def machine(gpu: str | None, ram: str | None, needs: Needs) -> AdvisedMachine:
    """The machine of ``--gpu`` and ``--ram``, each of which may be missing; without both, this one.

    Raises UsageError for a text that means nothing, and where nothing is left to compute with.
    """
    size = None if ram is None else memory(ram, option="--ram")
    if gpu is None and ram is None:
        return _here(needs)
    described = () if _is_none(gpu) else tuple(cards(str(gpu)))
    if not described and size is None:
        raise UsageError(
            f"--gpu {gpu} leaves nothing to compute with: say how much RAM there is, as --ram 32GB"
        )
    shared = any(card.left is not None for card in described)  # what is left is the system's
    return AdvisedMachine(described, None if shared else size)


def _is_none(gpu: str | None) -> bool:
    return gpu is None or gpu.strip().lower() == NO_GPU


def _here(needs: Needs) -> AdvisedMachine:
    found = () if needs.cpu_alone else tuple(_own_cards())
    return AdvisedMachine(found, capacity.usable_memory(), detected=True)


def _own_cards() -> list[Card]:
    """The NVIDIA GPUs of this machine, with what data sheets say of them."""
    if not gpus.visible():
        return []
    sizes, names = gpu_memory.totals(), gpus.names()
    found = []
    for index, size in enumerate(sizes):
        name = names[min(index, len(names) - 1)] if names else "a GPU"
        known = find(name)
        sheet = (known.bandwidth, known.flops, known.source) if known else (None, None, "")
        found.append(Card(name, size, *sheet))
    return found
