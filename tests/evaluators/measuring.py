"""A reference stored and models measured against it, without stages around them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from qpipe.evaluators.kld import KldParams, measure, scores_of
from qpipe.evaluators.logprobs import store
from qpipe.evaluators.text.protocols import protocol
from qpipe.evaluators.text.reference import Reference
from qpipe.evaluators.text.windows import tokenize
from qpipe.llamacpp.backend import LlamaCppBackend
from qpipe.results.fields import figures
from qpipe.results.scores import Score

STORIES = Path(__file__).parents[1] / "data" / "texts" / "tinystories_train_head_ascii.txt"


def reference(
    model: Path,
    text: str,
    out: Path,
    *,
    n_ctx: int,
    chunks: int | None,
    top_k: int | None = None,
) -> Reference:
    """The distributions of a GGUF file under llamacpp-512 with these departures."""
    out.mkdir()
    with LlamaCppBackend(model, threads=2) as backend:
        chosen = protocol("llamacpp-512").with_overrides(n_ctx=n_ctx, chunks=chunks)
        tokenized = tokenize(text, backend, chosen, name="")
        return store(backend, tokenized, out, top_k=top_k)[0]


def stories(
    gguf_of: Callable[[str, str], Path], out: Path, *, chunks: int, top_k: int | None = None
) -> Reference:
    """Those of stories260K in F32, on short windows of the text that it may have seen."""
    model, text = gguf_of("stories260K", "F32"), STORIES.read_text()
    return reference(model, text, out, n_ctx=64, chunks=chunks, top_k=top_k)


def against(stored: Reference, model: Path, params: KldParams | None = None) -> dict[str, float]:
    """The scores of a GGUF file against a reference."""
    with LlamaCppBackend(model, threads=2) as backend:
        found = measure(backend, stored, params or KldParams())
    return named(scores_of(found.values, stored))


def named(scores: Sequence[Score]) -> dict[str, float]:
    """Their figures by name."""
    return {name: value for name, value in figures(scores).items() if value is not None}
