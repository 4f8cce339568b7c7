"""What is measured, and one round's figures. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True)
class SpeedSettings:
    """``batch_size`` sequences at once: ``n_prompt`` tokens are read, ``n_gen`` are written.

    As llama-bench has it, writing starts from an empty context, and tokens are random. ``device``,
    ``dtype`` and ``kernel`` are as `qpipe.hf.load.load` takes them.
    """

    n_prompt: int
    n_gen: int
    batch_size: int
    threads: int
    type_k: str
    type_v: str
    flash_attention: Literal["auto", "on", "off"]
    device: str = "cpu"
    dtype: str = "auto"
    kernel: str = "auto"


@dataclass(frozen=True)
class Sample:
    """One round: tokens a second, of all sequences together, reading (``pp``) and writing (``tg``);
    ``ttft`` is seconds until the first token after the prompt is known."""

    pp: float
    tg: float
    ttft: float


@dataclass(frozen=True)
class Memory:
    """The most that was taken, in bytes; None: not known, or no GPU."""

    rss: int | None
    vram: int | None


class MeasurableModel(Protocol):
    """A loaded model that can be measured again and again."""

    @property
    def version(self) -> str:
        """Version of the software that computes."""

    @property
    def arithmetic(self) -> Mapping[str, str] | None:
        """In what was computed and where; None where that is part of the file's types."""

    def measure(self) -> Sample:
        """One round."""

    def vram(self) -> int | None:
        """The most GPU memory taken, in bytes."""

    def close(self) -> None:
        """Let the model go."""
