"""Which layers of an architecture have a window, where the file itself does not say.

Source: llama.cpp 0.6.0-dev, load_arch_hparams in src/models/ (``load_swa_pattern(ml, N, FIRST)``),
and llama_hparams::set_swa_pattern.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class WindowPattern:
    """Every ``period``-th layer attends to all, the last of each period or the ``first``.

    ``window`` is what counts where the metadata has none, ``fixed`` whatever that has; with
    ``layers`` it holds for models of so many layers alone. ``chunked``: within chunks.
    """

    period: int
    first: bool = False
    window: int = 0
    fixed: int = 0
    layers: int = 0
    chunked: bool = False

    def slides(self, layer: int) -> bool:
        """True of a layer that has the window; every one where ``period`` is 0."""
        place = layer % self.period if self.period else -1
        full = 0 if self.first else self.period - 1
        return self.period == 0 or place != full


# ``period`` 0: the file says which layers (``attention.sliding_window_pattern``), or all have it.
PATTERNS: Mapping[str, WindowPattern] = {
    "afmoe": WindowPattern(4),
    "cohere2": WindowPattern(4),
    "cohere2moe": WindowPattern(4, first=True),
    "exaone-moe": WindowPattern(4, window=128),
    "exaone4": WindowPattern(4, window=4096, layers=64),
    "gemma2": WindowPattern(2, window=4096),
    "gemma3": WindowPattern(6),
    "gemma3n": WindowPattern(5),
    "gemma4": WindowPattern(0),
    "gpt-oss": WindowPattern(2),
    "granite_swa": WindowPattern(0),
    "laguna": WindowPattern(4, first=True),
    "lfm2": WindowPattern(0),
    "llama4": WindowPattern(4, fixed=8192, chunked=True),
    "maple": WindowPattern(0),
    "mellum": WindowPattern(4),
    "mimo2": WindowPattern(0),
    "muse-glimmer": WindowPattern(4),
    "olmo2": WindowPattern(4),
    "plamo3": WindowPattern(8),
    "smallthinker": WindowPattern(4, first=True, fixed=4096),
    "spark2_5": WindowPattern(0),
    "step35": WindowPattern(0),
}
