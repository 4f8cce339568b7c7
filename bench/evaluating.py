"""Perplexity and KL divergence beside llama.cpp's own: same model, text, windows and threads.

llama-perplexity (in the folder QPIPE_LLAMA_CPP) is compared twice: with our loop on its own
library, where the limits hold, and with what users have, the wheel's library, whose kernels are
another compiler's. Whole passes on both sides, loading included, the start of Python on ours not.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from bench.measure import Bench, Row, call, interleaved
from bench.their_library import their_library
from qpipe.evaluators.kld import KldParams, measure
from qpipe.evaluators.logprobs import store
from qpipe.evaluators.perplexity import measure as measure_perplexity
from qpipe.evaluators.text.protocols import protocol
from qpipe.evaluators.text.reference import Reference
from qpipe.evaluators.text.sampling import interval
from qpipe.evaluators.text.windows import Tokenized, tokenize
from qpipe.gguf.convert import convert
from qpipe.gguf.quantize import quantize
from qpipe.llamacpp.backend import LlamaCppBackend
from qpipe.sources.pinning import DATA

N_CTX = 256
THREADS = 2
LEVELS = ("Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0", "Q6_K")
TEXT = DATA / "texts" / "tinystories_lower_heldout.txt"
_STORIES = Path(__file__).parents[1] / "tests" / "data"
_PEER = "QPIPE_LLAMA_CPP"


def rows(bench: Bench) -> list[Row]:
    """Wall seconds of a perplexity and of six KL divergences; tokens that a precision takes."""
    folder = bench.sub("evaluating")
    models = _models(DATA / "tinystories-d256", folder, "F16", LEVELS)
    found = list(_precision(bench.sub("stories")))
    if _PEER not in os.environ:
        print(f"no time measured: set {_PEER} (its folder)", file=sys.stderr)
        return found
    return [*_times(models, folder, bench.rounds), *found]


def _models(source: Path, folder: Path, base: str, levels: Sequence[str]) -> dict[str, Path]:
    """GGUF files by name, the base first."""
    models = {name: folder / f"{name}.gguf" for name in (base, *levels)}
    convert(source, models[base], outtype=base)
    for level in levels:
        quantize(models[base], models[level], ftype=level)
    return models


def _times(models: dict[str, Path], folder: Path, rounds: int) -> Iterator[Row]:
    base, *levels = models.values()
    programs = Path(os.environ[_PEER])
    full, precise = KldParams(), KldParams(precision=0.05)
    ours: dict[str, tuple[str, float | None, Callable[[], object]]] = {
        "perplexity": ("perplexity", 1 / 0.95, partial(_perplexity, base)),
        "full": ("KLD", 1.0, partial(_ours, base, levels, folder, full)),
        "precision 0.05": ("KLD", 0.3, partial(_ours, base, levels, folder, precise)),
    }
    works: dict[str, Callable[[], object]] = {
        "perplexity": partial(_perplexity_of, programs, base, folder),
        "KLD": partial(_theirs, programs, base, levels, folder),
    }
    for name, (_, _, work) in ours.items():
        works[f"{name}, same library"] = partial(_on_their_library, programs, work)
        works[f"{name}, wheel"] = work
    taken = interleaved(works, rounds=rounds)
    for name, (peer, limit, _) in ours.items():
        for library in ("same library", "wheel"):
            what = f"{name}, {library}" if name == peer else f"KLD of six levels, {name}, {library}"
            yield Row(
                what,
                taken[f"{name}, {library}"],
                "s",
                "llama-perplexity" + (", base and six passes" if peer == "KLD" else ""),
                taken[peer],
                limit=limit if library == "same library" else None,
            )


def _on_their_library(programs: Path, work: Callable[[], object]) -> None:
    with their_library(programs):
        work()


def _perplexity(model: Path) -> None:
    with LlamaCppBackend(model, threads=THREADS) as backend:
        measure_perplexity(backend, _tokenized(backend, TEXT))


def _perplexity_of(programs: Path, model: Path, folder: Path) -> None:
    program = programs / "llama-perplexity"
    call([program, "-m", model, "-f", TEXT, "-c", N_CTX, "-t", THREADS], cwd=folder)


def _ours(base: Path, levels: Sequence[Path], folder: Path, params: KldParams) -> None:
    stored = _reference(base, folder / "reference", TEXT)
    for level in levels:
        with LlamaCppBackend(level, threads=THREADS) as backend:
            measure(backend, stored, params)


def _theirs(programs: Path, base: Path, levels: Sequence[Path], folder: Path) -> None:
    program = programs / "llama-perplexity"
    kept = folder / "base.kld"
    same: list[object] = ["-c", N_CTX, "-t", THREADS, "--kl-divergence-base", kept]
    call([program, "-m", base, "-f", TEXT, *same], cwd=folder)
    for level in levels:
        call([program, "-m", level, *same, "--kl-divergence"], cwd=folder)


def _precision(folder: Path) -> Iterator[Row]:
    """stories260K in Q4_0: what 5 % takes, and how far it is from what the whole text gives."""
    models = _models(_STORIES / "models" / "stories260K", folder, "F32", ["Q4_0"])
    text = _STORIES / "texts" / "tinystories_train_head_ascii.txt"
    stored = _reference(models["F32"], folder / "reference", text, n_ctx=512)
    with LlamaCppBackend(models["Q4_0"], threads=THREADS) as backend:
        full = measure(backend, stored, KldParams()).values
        some = measure(backend, stored, KldParams(precision=0.05)).values
    whole, found = (interval(parts, stored, "kld") for parts in (full, some))
    yield Row(
        "tokens for mean KLD ± 5 %, stories260K Q4_0",
        sum(map(len, some)),
        "tokens",
        "all of the text",
        sum(map(len, full)),
    )
    yield Row(
        "its distance from the whole text's mean KLD",
        abs(found.value - whole.value),
        "nats",
        "half its 95 % interval",
        found.half,
        limit=1.0,
    )


def _tokenized(backend: LlamaCppBackend, text: Path, *, n_ctx: int = N_CTX) -> Tokenized:
    chosen = protocol("llamacpp-512").with_overrides(n_ctx=n_ctx)
    return tokenize(text.read_text(), backend, chosen, name=text.name)


def _reference(model: Path, out: Path, text: Path, *, n_ctx: int = N_CTX) -> Reference:
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    with LlamaCppBackend(model, threads=THREADS) as backend:
        return store(backend, _tokenized(backend, text, n_ctx=n_ctx), out)[0]
