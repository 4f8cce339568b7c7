"""A loaded checkpoint, and how far it is from itself with some modules rounded to the nearest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from qpipe.evaluators.text.interfaces import Nll, Tokens
from qpipe.hf.backend import TransformersBackend
from qpipe.mix.divergences import Divergences
from qpipe.mix.module_groups import PackedForm
from qpipe.support.closable import Closable

_WINDOWS = 32
"""Windows that the inputs of modules are taken from."""


class ModuleSwaps(Closable):
    """A checkpoint by transformers in float32; a context manager.

    ``folder`` takes the distributions of the windows, 2 bytes for each token of the vocabulary.
    """

    def __init__(self, checkpoint: Path, *, threads: int, folder: Path) -> None:
        self.backend = TransformersBackend(checkpoint, threads=threads)
        self.weights = self.backend.matrices()
        self._file = folder / "reference.bin"
        self._divergences: Divergences | None = None

    def start(self, tokens: Tokens) -> None:
        """Compute what the model itself says of windows [n, n_ctx]."""
        self._divergences = Divergences(self.backend, tokens, self._file)

    def importances(self, names: Sequence[str], tokens: Tokens) -> dict[str, Any]:
        """The mean squares of the inputs of modules, by column, over the first windows."""
        sums: dict[str, Any] = {}

        def listen(name: str, inputs: Any) -> None:
            squares = inputs.reshape(-1, inputs.shape[-1]).square().sum(dim=0)
            sums[name] = sums[name] + squares if name in sums else squares

        windows = tokens[:_WINDOWS]
        with self.backend.listening(names, listen):
            for _ in self.backend.logits(windows, first=tokens.shape[1] - 2):
                pass
        return {name: each / windows.size for name, each in sums.items()}

    def kld(self, forms: Mapping[str, PackedForm], order: Sequence[int], *, sym: bool) -> Nll:
        """The mean KL divergence of each window of ``order`` with modules in these forms; after it
        they have their own weights again."""
        assert self._divergences is not None, "not started"
        with self._swapped(forms, sym=sym):
            return self._divergences.of(self.backend, order)

    def errors(
        self, name: str, forms: Sequence[PackedForm], importance: Any, *, sym: bool
    ) -> tuple[list[float], float]:
        """The weighted squared error of a module in each form, and its weighted sum of squares."""
        weights = self.weights[name]

        def weighted(values: Any) -> float:
            squares = values.square().sum(dim=0).double()
            return float(squares.sum() if importance is None else squares @ importance.double())

        errors = [weighted(rounded(weights, form, sym=sym) - weights) for form in forms]
        return errors, weighted(weights)

    @contextmanager
    def _swapped(self, forms: Mapping[str, PackedForm], *, sym: bool) -> Iterator[None]:
        own = {name: self.weights[name].clone() for name in forms}
        try:
            for name, form in forms.items():
                self.weights[name].copy_(rounded(own[name], form, sym=sym))
            yield
        finally:
            for name, weights in own.items():
                self.weights[name].copy_(weights)

    def close(self) -> None:
        """Free the model and the distributions."""
        self.weights = {}
        self._divergences = None
        self.backend.close()
        self._file.unlink(missing_ok=True)


def rounded(weights: Any, form: PackedForm, *, sym: bool) -> Any:
    """Weights [rows, columns] to the nearest of a form's numbers, with scales in half precision.

    Symmetric codes lie around the middle one, others between the least and the largest weight
    (GPTQModel 7.6, quantization/quantizer.py, ``find_params``).
    """
    rows, columns = weights.shape
    size = columns if form.group_size == -1 else form.group_size
    groups = weights.reshape(rows, columns // size, size)
    most = 2**form.bits - 1
    if sym:
        reach = groups.abs().amax(dim=2, keepdim=True)
        scale, zero = 2 * reach / most, (most + 1) / 2
    else:
        low = groups.amin(dim=2, keepdim=True).clamp(max=0)
        scale = (groups.amax(dim=2, keepdim=True).clamp(min=0) - low) / most
        zero = None
    scale = scale.half().float()
    scale[scale == 0] = 1
    if zero is None:
        zero = (-low / scale).round()
    codes = ((groups / scale).round() + zero).clamp(0, most)
    return ((codes - zero) * scale).reshape(rows, columns)


def windows_of(samples: Sequence[Sequence[int]]) -> Tokens:
    """Samples of a calibration as windows [n, n_ctx]: those of the first one's length."""
    width = len(samples[0])
    return np.array([each for each in samples if len(each) == width], np.int32)
