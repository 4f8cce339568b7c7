"""What a runtime takes beside weights, cache and buffers, from data/runtimes.json: a source for
each figure, and words where none is known."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from qpipe.support import strict_json

_FILE = Path(__file__).parent.parent / "data" / "runtimes.json"

GPU_SHARE = 0.9
"""The share of a card that `vllm serve` takes as qpipe has it served (--gpu-memory-utilization);
vLLM's own default is 0.92 since 2026, 0.9 before (vllm/config/cache.py)."""


@dataclass(frozen=True)
class Overhead:
    """Bytes on each ``device`` (cpu or gpu) that a ``runtime`` of a ``version`` takes, in
    ``words``; ``size`` None: not known."""

    runtime: str
    device: str
    version: str
    words: str
    size: int | None
    source: str | None

    @property
    def note(self) -> str:
        """A sentence on it."""
        what = f"{self.runtime} {self.version}: {self.words}"
        if self.size is None:
            return f"{what}: not known, and not counted"
        return f"{what}: {self.size >> 20:,} MiB a {self.device.upper()} ({self.source})"


@cache
def overheads(runtime: str) -> tuple[Overhead, ...]:
    """Return those of a runtime; none of one that is not known."""
    return tuple(
        Overhead(
            each["runtime"],
            each["device"],
            each["version"],
            each["words"],
            None if each["mib_a_card"] is None else each["mib_a_card"] << 20,
            each["source"],
        )
        for each in strict_json.parse(_FILE.read_bytes())
        if each["runtime"] == runtime
    )


def known_bytes(runtime: str, device: str) -> int:
    """Bytes on one device, as far as they are known."""
    return sum(each.size or 0 for each in overheads(runtime) if each.device == device)
