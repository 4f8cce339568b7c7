"""Windows of tokens in, logits out: transformers as an evaluation backend."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qpipe.hf.load import AUTO, load
from qpipe.hf.tokenizer import TokenArray, Tokenizer
from qpipe.llamacpp.backend import LlamaCppTokenizer
from qpipe.support.closable import Closable

LogitsArray = npt.NDArray[np.float32]

# Tokens of one forward pass; more at once were not faster on a CPU.
_BATCH_TOKENS = 2048
# Logits of one forward pass: one window with more of them goes alone.
_LOGITS_BYTES = 512 << 20


class TransformersBackend(Closable):
    """A checkpoint folder, or the one GGUF file in it, dequantized; a context manager."""

    name = "transformers"

    def __init__(
        self,
        folder: Path,
        *,
        threads: int,
        device: str = "cpu",
        dtype: str = "auto",
        kernel: str = "auto",
    ) -> None:
        # torch 2.13.0, as qpipe.llamacpp.library: OpenMP's default, spinning, made this four times
        # as slow on shared cores.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        import torch

        torch.set_num_threads(threads)
        self.folder = folder
        self._gguf_file = next((path.name for path in folder.glob("*.gguf")), None)
        self._loaded = load(
            folder, gguf_file=self._gguf_file, device=device, dtype=dtype, kernel=kernel
        )
        self._asked = dtype
        self.arithmetic: Mapping[str, str] = self._loaded.arithmetic
        config = self._loaded.model.config.get_text_config()
        self.n_vocab: int = config.vocab_size
        self.n_ctx_train: int | None = getattr(config, "max_position_embeddings", None)

    @cached_property
    def version(self) -> str:
        """Versions of transformers and torch, and what was computed in and where."""
        import torch
        import transformers

        words = [f"torch {torch.__version__}", self._loaded.dtype, self._loaded.device]
        if self._loaded.method is not None:
            words.append(self._loaded.method)
        return f"{transformers.__version__} ({', '.join(words)})"

    @property
    def remarks(self) -> Sequence[str]:
        """A note that a format cannot be computed in the precision of all others."""
        loaded = self._loaded
        if loaded.method is None or self._asked != AUTO or loaded.dtype == "float32":
            return ()
        return (
            f"{loaded.method} was computed in {loaded.dtype} on a {loaded.device}, where plain "
            "checkpoints are in float32: small differences may come of that",
        )

    @cached_property
    def _tokenizer(self) -> Tokenizer | LlamaCppTokenizer:
        if self._gguf_file is None:
            return Tokenizer(self.folder)
        # transformers 5.17.0 reads a GGUF file's tokenizer without BOS.
        return LlamaCppTokenizer(self.folder / self._gguf_file)

    @property
    def bos(self) -> int | None:
        """The token that the tokenizer puts in front of a text, None if it puts none."""
        return self._tokenizer.bos

    @property
    def prefix(self) -> int:
        """The token that a first token is predicted from: BOS, or EOS in a vocabulary without."""
        return self._tokenizer.prefix

    def tokenize(self, text: str) -> TokenArray:
        """Token ids of ``text`` alone."""
        return self._tokenizer.tokenize(text)

    def together(self, width: int, rows: int) -> int:
        """The number of windows of ``width`` tokens that go through the model at a time."""
        return max(1, min(_BATCH_TOKENS // width, _LOGITS_BYTES // (rows * self.n_vocab * 4)))

    def lanes(self, width: int, rows: int, *, most: int) -> Sequence[TransformersBackend]:
        """Itself: torch shares a batch out among all threads."""
        return [self]

    def logits(self, windows: TokenArray, *, first: int) -> Iterator[tuple[int, int, LogitsArray]]:
        """A block for each window of ``windows`` [n_windows, n_ctx]: (window, first, logits).

        Row i was computed at position first + i and predicts the token after it; the last token
        of a window predicts nothing that is there, and is not given to the model.
        """
        import torch

        n_windows, n_ctx = windows.shape
        rows = n_ctx - 1 - first
        step = self.together(n_ctx, rows)
        model = self._loaded.model
        with torch.inference_mode():
            for at in range(0, n_windows, step):
                tokens = torch.from_numpy(windows[at : at + step, :-1].astype(np.int64))
                output = model(
                    input_ids=tokens.to(self._loaded.device), use_cache=False, logits_to_keep=rows
                ).logits
                # A model of transformers 5.17 that does not know `logits_to_keep` gives them all.
                for index, block in enumerate(output[:, -rows:].float().cpu().numpy()):
                    yield at + index, first, block

    def matrices(self) -> dict[str, Any]:
        """The weights of its modules by name, as tensors that may be changed in place."""
        weights = {
            n: getattr(each, "weight", None) for n, each in self._loaded.model.named_modules()
        }
        return {name: of.data for name, of in weights.items() if of is not None and of.dim() == 2}

    @contextmanager
    def listening(
        self, names: Collection[str], listen: Callable[[str, Any], None]
    ) -> Iterator[None]:
        """Call ``listen`` with a name and the inputs [..., columns] of that module, whenever it
        computes."""
        hooks = [
            module.register_forward_pre_hook(
                lambda module, inputs, name=name: listen(name, inputs[0])
            )
            for name, module in self._loaded.model.named_modules()
            if name in names
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def close(self) -> None:
        """Let the model's memory go."""
        del self._loaded
        # Only a tokenizer that was asked for was opened.
        if isinstance(opened := self.__dict__.pop("_tokenizer", None), LlamaCppTokenizer):
            opened.close()
