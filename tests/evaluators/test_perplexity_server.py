"""llama-server as a backend: the figures of llama.cpp in the worker's own process, any protocol."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qpipe.errors import DataError, RecipeError
from qpipe.evaluators.perplexity import measure
from qpipe.evaluators.perplexity_server import ServerPerplexity, ServerPerplexityParams
from qpipe.evaluators.text.protocols import protocol
from qpipe.evaluators.text.windows import Tokenized, Windows, load, tokenize
from qpipe.llamacpp.backend import LlamaCppBackend, LlamaCppTokenizer
from qpipe.machine.program import ProgramError
from qpipe.stages import registry
from qpipe.stages.base import Order, Work
from tests import llama_server
from tests.cli import called

Gguf = Callable[[str, str], Path]

# Characters that stories260K spells in bytes, and one that it spells in bytes of four.
TEXT = "Zoë and Jürgen had 2 żółw. They said 你好 to a 🐢, and the turtle was happy. " * 12


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    llama_server.on_path(folder, monkeypatch)


def work_on(model: Path, tokenized: Tokenized, folder: Path) -> Work:
    tokens, its = folder / "tokens", folder / "model"
    for made in (tokens, its, folder / "out"):
        made.mkdir()
    (its / "model.gguf").symlink_to(model)
    tokenized.save(tokens)
    return Work({"model": its, "tokens": tokens}, folder / "out", 2, lambda *told: None, {})


def cut(model: Path, name: str, **settings: Any) -> Tokenized:
    with LlamaCppTokenizer(model) as tokenizer:
        chosen = protocol(name).with_overrides(**settings)
        return tokenize(TEXT, tokenizer, chosen, name="turtles")


def in_process(model: Path, tokenized: Tokenized) -> list[float]:
    with LlamaCppBackend(model, threads=2) as backend:
        return [float(value) for value in measure(backend, tokenized).nll]


@pytest.mark.usefixtures("program")
@pytest.mark.parametrize("name", ["gptq-2048", "lm-eval-word", "llamacpp-512"])
def test_the_same_tokens_get_the_same_figures(name: str, gguf_of: Gguf, tmp_path: Path) -> None:
    """Also those that end inside a character, or end a text."""
    model = gguf_of("stories260K", "F32")
    tokenized = cut(
        model, name, **({"n_ctx": 200} if "word" in name else {"n_ctx": 128, "chunks": 2})
    )
    tokens = tokenized.windows.tokens.copy()
    tokens[:, 100] = 2  # EOS
    windows = tokenized.windows
    changed = Windows(tokens, windows.spans, windows.available, windows.text_tokens, windows.units)
    work = work_on(model, Tokenized(changed, tokenized.about), tmp_path)
    found = ServerPerplexity().run(ServerPerplexityParams(), work)
    expected = np.array(in_process(model, load(work.inputs["tokens"])))
    sums = json.loads((work.out / "windows.json").read_bytes())
    assert sum(sums["nll"]) == pytest.approx(expected.sum(), abs=1e-3 * len(expected))
    assert str(found.by).startswith("llama-server xllamacpp ")
    assert found.on.tokens_scored == len(expected)


@pytest.mark.usefixtures("program")
def test_windows_beyond_what_the_model_was_trained_for(gguf_of: Gguf, tmp_path: Path) -> None:
    """The program would cut them."""
    model = gguf_of("tinystories-d256", "F16")
    work = work_on(model, cut(model, "llamacpp-512", n_ctx=300, chunks=1), tmp_path)
    with pytest.raises(DataError, match=r"at most the 256 .* set evaluate\.n_ctx=256, or"):
        ServerPerplexity().run(ServerPerplexityParams(), work)


def test_one_that_ends_early_is_said_with_its_last_words(
    gguf_of: Gguf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "llama-server"
    program.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo version: 1 && exit\necho out of fuel\nexit 3\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    model = gguf_of("stories260K", "F32")
    work = work_on(model, cut(model, "llamacpp-512", n_ctx=64, chunks=1), tmp_path)
    with pytest.raises(ProgramError, match="llama-server 1 ended with code 3: out of fuel"):
        ServerPerplexity().run(ServerPerplexityParams(), work)


@pytest.mark.parametrize(
    ("device", "lists", "refused"),
    [
        ("auto", "  (none)", None),
        ("cuda", "  CUDA0: NVIDIA H200 (143771 MiB, 142000 MiB free)", None),
        ("cuda", "  (none)", "has no CUDA device (it lists none): set evaluate.device=cpu"),
        ("cuda", "  Vulkan0: NVIDIA H200 (1 MiB, 1 MiB free)", "(it lists Vulkan0)"),
    ],
)
def test_a_build_without_the_device_is_refused_in_the_plan(
    device: Any, lists: str, refused: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it prints of its devices is llama.cpp's own (0.2.0-dev)."""
    program = tmp_path / "llama-server"
    program.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo version: 1 && exit\n'
        f'[ "$1" = --list-devices ] && echo "Available devices:\n{lists}"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    params = ServerPerplexityParams(device=device)
    assert params.offload == (("-ngl", 999, "--device", "CUDA0") if device == "cuda" else ())
    assert ServerPerplexity.resources(params, cores=4).gpus == (1 if device == "cuda" else 0)
    if refused is None:
        ServerPerplexity.refuse(params, Order({}))
    else:
        with pytest.raises(RecipeError, match=re.escape(refused)):
            ServerPerplexity.refuse(params, Order({}))


def test_refused_where_it_is_not(tmp_path: Path) -> None:
    recipe = ("local", "model.source=builtin:tinystories-d256", "evaluate=perplexity")
    nothing = {"PATH": str(tmp_path)}
    planned = called("plan", *recipe, "evaluate.backend=llama-server", cwd=tmp_path, env=nothing)
    assert planned.code == 3, planned
    assert "llama-server is not on PATH: build llama.cpp or install" in planned.stdout


@pytest.mark.parametrize("metric", ["kld", "logprobs", "speed"])
def test_what_it_cannot_measure_is_refused_with_the_reason(metric: str) -> None:
    with pytest.raises(
        RecipeError, match=r"evaluate\.backend: llama-server.* evaluate\.backend=llama"
    ):
        registry.find(
            "evaluate", {"metric": metric, "backend": "llama-server"}, field="stages.evaluate"
        )
