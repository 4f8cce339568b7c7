"""A checkpoint folder, or a GGUF file dequantized, measured through transformers."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from qpipe.evaluators.speed_rounds.settings import Sample, SpeedSettings
from qpipe.hf.load import load


class CheckpointModel:
    """See `settings.MeasurableModel`. Raises what `qpipe.hf.load.load` raises."""

    def __init__(self, folder: Path, settings: SpeedSettings) -> None:
        # As qpipe.hf.backend: OpenMP's threads (torch 2.13) spin by default.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        import torch
        import transformers

        torch.set_num_threads(settings.threads)
        self._settings = settings
        gguf_file = next((path.name for path in folder.glob("*.gguf")), None)
        self._loaded = load(
            folder,
            gguf_file=gguf_file,
            device=settings.device,
            dtype=settings.dtype,
            kernel=settings.kernel,
        )
        self.version = (
            f"transformers {transformers.__version__} (torch {torch.__version__}, "
            f"{self._loaded.dtype}, {self._loaded.device})"
        )
        self.arithmetic = self._loaded.arithmetic
        draw = torch.Generator().manual_seed(0)
        vocabulary = self._loaded.model.config.get_text_config().vocab_size
        size = (settings.batch_size, max(settings.n_prompt, settings.n_gen))
        tokens = torch.randint(vocabulary, size, generator=draw)
        self._tokens = tokens.to(self._loaded.device)

    def measure(self) -> Sample:
        """One round."""
        import torch

        count, n_prompt = self._settings.batch_size, self._settings.n_prompt
        with torch.inference_mode():
            started = self._now()
            self._forward(self._tokens[:, :n_prompt], None)
            read = self._now() - started
            past = None
            started = self._now()
            for position in range(self._settings.n_gen):
                past = self._forward(self._tokens[:, position : position + 1], past)
            wrote = self._now() - started
        return Sample(
            pp=count * n_prompt / read, tg=count * self._settings.n_gen / wrote, ttft=read
        )

    def _forward(self, tokens: Any, past: Any) -> Any:
        outputs = self._loaded.model(
            input_ids=tokens, past_key_values=past, use_cache=True, logits_to_keep=1
        )
        outputs.logits[:, -1].argmax(dim=-1)
        return outputs.past_key_values

    def _now(self) -> float:
        import torch

        if self._loaded.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def vram(self) -> int | None:
        """The most that torch has had allocated on the GPU."""
        import torch

        return torch.cuda.max_memory_allocated() if self._loaded.device == "cuda" else None

    def close(self) -> None:
        """Let the model go."""
        del self._loaded
