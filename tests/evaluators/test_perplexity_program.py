"""llama-perplexity as a backend: refused where it is not, the same figures where it is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qpipe.errors import DataError, RecipeError, StageError
from qpipe.evaluators import perplexity_program
from qpipe.evaluators.perplexity_program import PROGRAM, ProgramPerplexity, ProgramPerplexityParams
from qpipe.evaluators.text.protocols import protocol
from qpipe.evaluators.text.windows import TEXT as PREPARED
from qpipe.evaluators.text.windows import About, Tokenized, Windows, load, tokenize
from qpipe.llamacpp.backend import LlamaCppTokenizer
from qpipe.stages.base import Work
from tests.cli import by_stage, called

Gguf = Callable[[str, str], Path]
DATA = Path(__file__).parent.parent / "data"
TEXT = DATA / "texts" / "tinystories_train_head_ascii.txt"
RECIPE = (
    *("local", f"model.source={DATA / 'models' / 'stories260K'}", "quantize.type=Q8_0"),
    *("evaluate=perplexity", f"evaluate.text={TEXT}", "evaluate.n_ctx=128", "evaluate.chunks=10"),
)
BY_PROGRAM = "evaluate.backend=llama-perplexity"

installed = pytest.mark.skipif(shutil.which(PROGRAM) is None, reason=f"{PROGRAM} is not on PATH")


def run(cwd: Path, *overrides: str) -> Any:
    answer = called("run", *RECIPE, *overrides, "--json", cwd=cwd)
    assert answer.code == 0, answer.stderr[-3000:]
    return json.loads(answer.stdout)


def tokenized(model: Path, folder: Path, *, name: str = "llamacpp-512", n_ctx: int = 64) -> Work:
    """A stage's work on a model and two windows of the text."""
    tokens, its = folder / "tokens", folder / "model"
    for made in (tokens, its, folder / "out"):
        made.mkdir()
    (its / "model.gguf").symlink_to(model)
    with LlamaCppTokenizer(model) as tokenizer:
        chosen = protocol(name).with_overrides(n_ctx=n_ctx, chunks=2)
        text = TEXT.read_text()
        tokenize(text, tokenizer, chosen, name=TEXT.name).save(tokens)
    (tokens / PREPARED).write_text(text.removesuffix("\n"))
    return Work({"model": its, "tokens": tokens}, folder / "out", 2, lambda *told: None, {})


def test_refused_where_it_is_not(tmp_path: Path) -> None:
    nothing_on_path = {"PATH": str(tmp_path)}
    planned = called("plan", *RECIPE, BY_PROGRAM, cwd=tmp_path, env=nothing_on_path)
    assert planned.code == 3, planned
    assert "llama-perplexity is not on PATH: build llama.cpp or install" in planned.stdout
    ran = called("run", *RECIPE, BY_PROGRAM, "--json", cwd=tmp_path, env=nothing_on_path)
    assert ran.code == 3
    nodes = by_stage(json.loads(ran.stdout)["nodes"])
    assert nodes["perplexity"]["error"]["type"] == "EngineMissingError"


@installed
@pytest.mark.slow
def test_the_same_figures_on_the_same_tokens(tmp_path: Path) -> None:
    ours, theirs = run(tmp_path), run(tmp_path, BY_PROGRAM)
    for own, its in zip(ours["rows"], theirs["rows"], strict=True):
        assert its["ppl"] == pytest.approx(own["ppl"], abs=0.002)
        assert its["ppl_stderr"] == pytest.approx(own["ppl_stderr"], abs=0.0005)
        (measured,), (measured_here,) = its["measurements"], own["measurements"]
        assert measured["tokens_sha256"] == measured_here["tokens_sha256"]
        assert measured["protocol"] == "llamacpp-512 n_ctx=128 chunks=10"
        assert measured["backend"].startswith("llama-perplexity ")


@installed
@pytest.mark.parametrize(
    ("model", "level", "n_ctx", "type_k"),
    [
        ("stories260K", "F32", 64, "f16"),
        ("stories260K", "F32", 2100, "f16"),
        ("tinystories-d256", "F16", 64, "q8_0"),
    ],
)
def test_windows_of_any_width(
    model: str, level: str, n_ctx: int, type_k: Any, gguf_of: Gguf, tmp_path: Path
) -> None:
    """2,100 tokens are more than a batch of the program."""
    work = tokenized(gguf_of(model, level), tmp_path, n_ctx=n_ctx)
    told: list[int] = []
    work = replace(work, progress=lambda done, total, unit: told.append(done))
    found = ProgramPerplexity().run(ProgramPerplexityParams(type_k=type_k), work)
    assert told == [n_ctx, 2 * n_ctx]
    assert found.on.tokens_scored == 2 * (n_ctx - 1 - n_ctx // 2)
    (ppl,) = found.scores
    assert ppl.name == "ppl" and ppl.value > 1
    label = f"llamacpp-512 n_ctx={n_ctx} chunks=2"
    assert found.protocol == (label if type_k == "f16" else f"{label} type_k=q8_0")


@installed
def test_other_tokens_are_refused(gguf_of: Gguf, tmp_path: Path) -> None:
    work = tokenized(gguf_of("stories260K", "F32"), tmp_path)
    (work.inputs["tokens"] / PREPARED).write_text("Once there was another text. " * 100)
    with pytest.raises(DataError, match="makes other tokens of tinystories_train_head_ascii"):
        ProgramPerplexity().run(ProgramPerplexityParams(), work)


@installed
def test_a_context_that_it_cannot_make_ends_it(gguf_of: Gguf, tmp_path: Path) -> None:
    """Heads of 8 have no blocks of 32. It ends before it opens its pipe; nothing waits for that."""
    work = tokenized(gguf_of("stories260K", "F32"), tmp_path)
    with pytest.raises(StageError, match=PROGRAM):
        ProgramPerplexity().run(ProgramPerplexityParams(type_k="q8_0"), work)


def _loaded(model: Path, folder: Path, **how: Any) -> Tokenized:
    return load(tokenized(model, folder, **how).inputs["tokens"])


def test_other_protocols_and_short_texts_are_refused(gguf_of: Gguf, tmp_path: Path) -> None:
    model = gguf_of("stories260K", "F32")
    found = _loaded(model, tmp_path, name="gptq-2048")
    with pytest.raises(RecipeError, match="under llamacpp-512 alone, and the tokens are of gptq"):
        perplexity_program._require_its_protocol(found)
    short = replace(found.about, protocol="llamacpp-512", text_tokens=100)
    with pytest.raises(DataError, match=r"evaluate\.n_ctx=50 or less"):
        perplexity_program._require_its_protocol(replace(found, about=short))


def test_what_it_prints_and_writes_is_read(tmp_path: Path) -> None:
    """Lines of build 1 (0c1e570), and the head of its file as perplexity.cpp writes it."""
    work = Work({}, tmp_path, 1, lambda done, total, unit: progress.append((done, total)), {})
    progress: list[tuple[int, int]] = []
    told = perplexity_program._ProgramOutput(work, windows=2, width=64)
    with pytest.raises(StageError, match="printed 0 of 2 windows"):
        told.score()
    for line in (
        "0.01.982.670 I perplexity: calculating perplexity over 2 chunks, n_ctx=64, n_seq=2\n",
        "       0  4.3973  1.480998  0.106583\n",
        "       0  4.3977  1.481091  0.105012\n",
        "\n",
    ):
        told(line)
    assert progress == [(64, 128), (128, 128)]
    assert told.whole
    found = told.score()
    assert found.value == pytest.approx(4.3977, abs=5e-5)
    assert found.stderr == pytest.approx(4.3977 * 0.105012, abs=1e-5)
    # Means of one window and of two: the second's own is 1.481091 + (1.481091 - 1.480998).
    windows = Windows(np.zeros((2, 64), np.int32), np.array([[32, 63]] * 2, np.int32), 2, 128)
    about = About("t", "llamacpp-512", 1, "token", None, 64, 2, 128, windows.sha256)
    sums = told.sums(Tokenized(windows, about))
    assert sums.nll == pytest.approx([31 * 1.480998, 31 * 1.481184])
    assert (sums.tokens, sums.unit, sums.units) == ([31, 31], "token", 62)
    assert sums.score == pytest.approx(found.value)
    damaged = perplexity_program._ProgramOutput(work, windows=1, width=64)
    damaged("       0  nan  nan  nan\n")
    with pytest.raises(DataError, match="log-likelihood of nan: the model is damaged"):
        damaged.score()
    ids = np.arange(6, dtype="<i4")
    with perplexity_program._Ids(tmp_path / "pipe") as pipe, pipe.path.open("wb") as file:
        sizes = np.array([3, 512, 2], "<i4")  # n_ctx, n_vocab, n_chunk
        file.write(b"_logits_" + sizes.tobytes() + ids.tobytes() + bytes(3 << 20))
    assert pipe.token_ids().tolist() == [[0, 1, 2], [3, 4, 5]]
    with perplexity_program._Ids(tmp_path / "unopened") as pipe:
        pass
    assert pipe.token_ids().shape == (0, 0)
