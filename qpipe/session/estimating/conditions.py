"""How a model is to be run: what a user asks for, and the setting of each runtime that follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from qpipe.errors import UsageError, nearest
from qpipe.machine import gpu_memory, gpus
from qpipe.memory import RUNTIMES, Geometry, RunSetting
from qpipe.runtimes.cards import Card, cards, find, memory
from qpipe.runtimes.overheads import GPU_SHARE

_USUAL_CONTEXT = 32768
_MOST_CONTEXT = 1 << 27
_MOST_SEQUENCES = 1 << 16
_KV = {"llama.cpp": "f16", "vllm": "auto", "transformers": "f16", "exllama": "f16"}


@dataclass(frozen=True)
class RunConditions:
    """The ``runtime``; ``context`` tokens (None: the usual 32,768, or what the model was made for)
    of each of ``sequences`` at once; types of the cache; ``cards``, and bytes of ``ram``.

    Raises UsageError for a number or a runtime that is none.
    """

    runtime: str = "llama.cpp"
    context: int | None = None
    sequences: int = 1
    kv_k: str | None = None
    kv_v: str | None = None
    flash_attention: bool | None = None
    cards: tuple[Card, ...] = ()
    ram: int | None = None

    def __post_init__(self) -> None:
        if self.runtime not in RUNTIMES:
            raise UsageError(
                f"--runtime {self.runtime}: this runtime is not known; "
                f"{nearest(self.runtime, RUNTIMES)}"
            )
        _in_bounds("--ctx", self.context, _MOST_CONTEXT, "tokens of context")
        _in_bounds("--batch", self.sequences, _MOST_SEQUENCES, "sequences at once")

    def setting(self, runtime: str, model: Geometry) -> tuple[RunSetting, tuple[str, ...]]:
        """The setting for a runtime, and notes where it cannot be as asked for.

        Raises RecipeError for a type of the cache that the runtime asked for has not.
        """
        kv_k, kv_v = self.kv_k, self.kv_v
        notes: tuple[str, ...] = ()
        known = RunSetting(runtime, kv_k=_KV[runtime], kv_v=_KV[runtime])
        if runtime != self.runtime and {kv_k, kv_v} - {None, *known.cache_types}:
            notes = (f"{runtime} has no cache of type {kv_k or kv_v}: {_KV[runtime]} is taken",)
            kv_k = kv_v = None
        setting = replace(
            known,
            context=self.tokens(model),
            sequences=self.sequences,
            kv_k=kv_k or known.kv_k,
            kv_v=kv_v or known.kv_v,
            flash_attention=self.flash_attention,
            gpu_memory=self.gpu_memory or None,
            gpu_share=GPU_SHARE,
        )
        return setting, notes

    def tokens(self, model: Geometry) -> int:
        """Tokens of context: as asked for, else the usual, or what the model was made for."""
        return self.context or min(_USUAL_CONTEXT, trained(model) or _USUAL_CONTEXT)

    @property
    def gpu_memory(self) -> int:
        """Bytes of all cards."""
        return sum(card.memory for card in self.cards)

    def notes(self, model: Geometry) -> list[str]:
        """Say what of the context a user should know."""
        most = trained(model)
        if most is not None and self.tokens(model) > most:
            return [
                f"--ctx {self.tokens(model):,} is more than the {most:,} tokens that the model was "
                "made for (max_position_embeddings): beyond them it needs RoPE scaling"
            ]
        return []


def trained(model: Geometry) -> int | None:
    """The tokens that a model was made for; None where its config.json does not say."""
    return model.sizes.get("context_length") or None


def _in_bounds(option: str, value: int | None, most: int, words: str) -> None:
    if value is not None and not 1 <= value <= most:
        raise UsageError(f"{option} {value}: give 1 to {most:,} {words}")


def of_options(runtime: str, gpu: Sequence[str], ram: str | None, **others: Any) -> RunConditions:
    """The conditions that options name. Raises UsageError for a card or size that is none."""
    return RunConditions(
        runtime,
        cards=tuple(card for each in gpu for card in cards(each)),
        ram=None if ram is None else memory(ram, option="--ram"),
        **others,
    )


def detected() -> tuple[Card, ...]:
    """Find the cards of this machine that CUDA shows, as far as the driver tells their memory."""
    shown = gpus.visible()
    if not shown:
        return ()
    sizes, names = gpu_memory.totals(), gpus.names()
    known = find(names[0]) if len(names) == 1 else None
    if known is None:
        return tuple(Card(f"GPU {name}", size) for name, size in zip(shown, sizes))  # noqa: B905
    return tuple(replace(known, memory=size) for _, size in zip(shown, sizes))  # noqa: B905
