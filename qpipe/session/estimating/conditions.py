"""How a model is to be run: what a user asks for, and the setting of each runtime that follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from qpipe.errors import RecipeError, UsageError, nearest
from qpipe.machine import gpu_memory, gpus
from qpipe.memory import RUNTIMES, Geometry, RunSetting
from qpipe.runtimes.cards import Card, cards, find, memory
from qpipe.runtimes.contexts import usual_context
from qpipe.runtimes.overheads import GPU_SHARE

NO_GPU = "none"
"""What ``--gpu`` says of a machine without one."""
GPU_RUNTIMES = ("vllm", "exllama")
"""Runtimes that are reckoned with on GPUs alone."""

_MOST_CONTEXT = 1 << 27
_MOST_SEQUENCES = 1 << 16
_KV = {"llama.cpp": "f16", "vllm": "auto", "transformers": "f16", "exllama": "f16"}


@dataclass(frozen=True)
class RunConditions:
    """The ``runtime``; ``context`` tokens (None: the usual, `runtimes.contexts`) of each of
    ``sequences`` at once; types of the cache; ``cards``, and bytes of ``ram``.

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
    cpu_alone: bool = False
    """No card takes part, though this machine may have some."""

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

    def require_cache(self, model: Geometry) -> None:
        """Raise UsageError for a type of the cache that the runtime asked for has not."""
        try:
            self.setting(self.runtime, model)
        except RecipeError as error:
            kinds = "/".join(dict.fromkeys(str(k) for k in (self.kv_k, self.kv_v) if k))
            raise UsageError(f"--kv {kinds}: {error}") from None

    def tokens(self, model: Geometry) -> int:
        """Tokens of context: as asked for, else the usual, or what the model was made for."""
        return self.context or usual_context(trained(model))

    @property
    def gpu_memory(self) -> int:
        """Bytes of all cards."""
        return sum(card.memory for card in self.cards)

    def notes(self, model: Geometry) -> list[str]:
        """Say what of the cards and the context a user should know."""
        said = [card.note for card in dict.fromkeys(self.cards) if card.note is not None]
        most = trained(model)
        if most is not None and self.tokens(model) > most:
            said.append(
                f"--ctx {self.tokens(model):,} is more than the {most:,} tokens that the model was "
                "made for (max_position_embeddings): beyond them it needs RoPE scaling"
            )
        return said


def trained(model: Geometry) -> int | None:
    """The tokens that a model was made for; None where its config.json does not say."""
    return model.sizes.get("context_length") or None


def _in_bounds(option: str, value: int | None, most: int, words: str) -> None:
    if value is not None and not 1 <= value <= most:
        raise UsageError(f"{option} {value}: give 1 to {most:,} {words}")


def of_options(runtime: str, gpu: Sequence[str], ram: str | None, **others: Any) -> RunConditions:
    """The conditions that options name. Raises UsageError for a card or size that is none."""
    alone = [each.strip().lower() for each in gpu] == [NO_GPU]
    if alone and runtime in GPU_RUNTIMES:
        raise UsageError(
            f"--runtime {runtime} and --gpu {NO_GPU} contradict each other: {runtime} computes on "
            "GPUs here; without one take --runtime llama.cpp"
        )
    named = () if alone else tuple(card for each in gpu for card in cards(each))
    shared = [card.left for card in named if card.left is not None]
    size = None if ram is None else memory(ram, option="--ram")
    return RunConditions(
        runtime, cards=named, ram=shared[0] if shared else size, cpu_alone=alone, **others
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
