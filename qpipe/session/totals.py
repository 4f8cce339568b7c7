"""What a run would fetch, make and take, in sum: bytes to download, on disk and of all results."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from qpipe.errors import OutOfSpaceError
from qpipe.machine.filesystem import existing, free_bytes
from qpipe.report import numbers
from qpipe.session.planned import PlannedNode, Precision

# Stages whose outputs are of the order of a model, so that one of unknown size counts.
_LARGE = ("download", "convert", "quantize")


@dataclass(frozen=True)
class Amount:
    """A sum of bytes of several nodes; of ``unknown`` more the size is not known."""

    bytes: int
    precision: Precision
    nodes: int
    unknown: int


@dataclass(frozen=True)
class Totals:
    """The sums over the nodes of a plan that would not fail.

    ``download``: what the hub's cache does not have yet. ``results``: quantized models, those in
    the store too. ``disk``: what would be written on the store's file system if nothing of it is
    removed meanwhile, of which ``free`` bytes are left there. A local source is linked and counts
    as nothing. With ``results_only`` (run.keep=results) what is measured is removed meanwhile:
    ``at_once`` is the most that there then is at a time, one node after another (None: not known).
    """

    download: Amount
    results: Amount
    disk: Amount
    free: int
    results_only: bool = False
    at_once: int | None = None

    @property
    def problem(self) -> OutOfSpaceError | None:
        """Return an error where the disk has no room for what is known to be written."""
        if self.disk.bytes <= self.free or self.disk.precision == "at most":
            return None
        if self.results_only:
            return self._too_much_at_once
        return OutOfSpaceError(
            f"the run would write {_words(self.disk)}, and the file system of the store has "
            f"{numbers.size(self.free)} free: make room (`qpipe gc`), name another disk with "
            "--store, have what is measured go at once (run.keep=results), or leave some levels out"
        )

    @property
    def _too_much_at_once(self) -> OutOfSpaceError | None:
        if self.at_once is None or self.at_once <= self.free:
            return None
        return OutOfSpaceError(
            f"the run would have {numbers.size(self.at_once)} on disk at a time, though what is "
            f"measured goes at once (run.keep=results), and the file system of the store has "
            f"{numbers.size(self.free)} free: make room (`qpipe gc`), or name another disk with "
            "--store"
        )


def _words(amount: Amount) -> str:
    words = "" if amount.precision == "exact" else f"{amount.precision} "
    return words + numbers.size(amount.bytes)


def totals(
    nodes: Sequence[PlannedNode],
    store: Path,
    *,
    results_only: bool = False,
    at_once: int | None = None,
) -> Totals:
    """Add up what the nodes of a plan say of themselves."""
    went = [node for node in nodes if node.state == "cached" and node.artifact is None]
    sound = [node for node in nodes if node.error is None and node not in went]
    fetched = [node for node in sound if node.state != "cached" and _is_hub(node)]
    made = _made(sound, store)
    return Totals(
        download=_sum(fetched, of_download=True),
        results=_sum([node for node in sound if node.stage == "quantize"]),
        disk=_sum([node for node in made if node.size is not None or node.stage in _LARGE]),
        free=free_bytes(store),
        results_only=results_only,
        at_once=at_once,
    )


def written(nodes: Sequence[PlannedNode], store: Path) -> dict[str, int]:
    """The bytes that each node that is to be made adds to the disk of the store, by id, as far as
    they are known."""
    made = _made([node for node in nodes if node.error is None], store)
    sizes = {node.id: node.download if _is_hub(node) else node.size for node in made}
    return {node: size for node, size in sizes.items() if size is not None}


def _made(sound: Sequence[PlannedNode], store: Path) -> list[PlannedNode]:
    """The nodes that write to the disk of the store."""
    made = [node for node in sound if node.state != "cached" and not _is_linked(node)]
    if any(map(_is_hub, made)) and not _shares_disk(store):
        made = [node for node in made if not _is_hub(node)]
    return made


def _is_hub(node: PlannedNode) -> bool:
    return node.stage == "download" and node.source_kind != "local"


def _is_linked(node: PlannedNode) -> bool:
    return node.stage == "download" and node.source_kind == "local"


def _shares_disk(store: Path) -> bool:
    """Tell whether the hub's cache is on the file system of the store, which links to it."""
    from huggingface_hub import constants

    places = (existing(store), existing(Path(constants.HF_HUB_CACHE)))
    return len({os.stat(place).st_dev for place in places}) == 1  # noqa: PTH116


def _sum(nodes: Iterable[PlannedNode], *, of_download: bool = False) -> Amount:
    nodes = list(nodes)
    sizes = [node.download if of_download or _is_hub(node) else node.size for node in nodes]
    known = [size for size in sizes if size is not None]
    unknown = len(sizes) - len(known)
    precisions = {node.precision for node in nodes}
    precision: Precision = "at least" if unknown else "exact"
    if not unknown and "about" in precisions:
        precision = "about"
    elif not unknown and "at most" in precisions:
        precision = "at most"
    return Amount(sum(known), precision, len(nodes), unknown)
