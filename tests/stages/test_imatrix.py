"""The imatrix stage, and the quantize stage that takes what it made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qpipe.core.link import link
from qpipe.engines.gguf import NativeGguf, NativeParams
from qpipe.errors import GraphError, RecipeError
from qpipe.gguf import imatrix, reader
from qpipe.recipe.drafting import draft
from qpipe.stages.base import Work
from qpipe.stages.imatrix import Imatrix, ImatrixParams
from tests.gguf import samples
from tests.recipe.jobs import TEXT, job, pipeline

Gguf = Callable[[str, str], Path]
STORIES = samples.ROOT / "tests/data/texts/tinystories_train_head_ascii.txt"


def work(out: Path, **inputs: Path) -> Work:
    out.mkdir()
    folders = {}
    for role, path in inputs.items():
        folders[role] = out.parent / f"{out.name}-{role}"
        folders[role].mkdir()
        link(path, folders[role] / path.name)
    return Work(folders, out, 2, lambda done, total, unit: None, {})


def run(tmp_path: Path, model: Path, text: Path = STORIES, **params: Any) -> dict[str, Any]:
    given = ImatrixParams(text="(input)", **params)
    made = work(tmp_path / "out", model=model, text=text)
    facts = dict(Imatrix().run(given, made))
    assert [path.name for path in made.out.iterdir()] == ["imatrix.gguf"]
    return facts


def test_facts_of_a_dense_model(gguf_of: Gguf, tmp_path: Path) -> None:
    facts = run(tmp_path, gguf_of("stories260K", "F32"), n_ctx=64, chunks=9)
    assert facts == {
        "chunks": 9,
        "chunk_size": 64,
        "tokens": 576,
        "tokens_asked": 576,
        "tokens_in_text": facts["tokens_in_text"],
        "entries": 35,
        "missing": [],
        "short": {},
        "unseen_experts": {},
        "notes": [],
        "text": STORIES.name,
    }
    found = imatrix.read(tmp_path / "out" / "imatrix.gguf")
    assert (found.chunks, found.datasets, len(found.weights)) == (9, (STORIES.name,), 35)


def test_fewer_tokens_than_asked_are_noted(gguf_of: Gguf, tmp_path: Path) -> None:
    text = tmp_path / "short.txt"
    text.write_text(STORIES.read_text()[:2000])
    facts = run(tmp_path, gguf_of("stories260K", "F32"), text, n_ctx=64, chunks=500)
    assert facts["tokens_asked"] == 32000
    assert facts["tokens"] == facts["chunks"] * 64 < facts["tokens_in_text"]
    assert len(facts["notes"]) == 1
    assert f"{facts['tokens']} of the 32000 tokens" in facts["notes"][0]


def test_too_long_windows_and_lost_tokens_are_noted(gguf_of: Gguf, tmp_path: Path) -> None:
    facts = run(tmp_path, gguf_of("stories260K", "F32"), n_ctx=520, chunks=1)
    assert len(facts["notes"]) == 2
    assert "exceed the 512" in facts["notes"][0]
    assert "and 32 more" in facts["notes"][1]


def test_quantize_takes_it_as_an_input(gguf_of: Gguf, tmp_path: Path) -> None:
    """The same as with the matrix as a file, and not the same as without."""
    model = gguf_of("stories260K", "F32")
    run(tmp_path, model, n_ctx=256, chunks=40)
    made = tmp_path / "out" / "imatrix.gguf"
    digests = {}
    for name, inputs in {"plain": {}, "weighed": {"imatrix": made}}.items():
        quantizing = work(tmp_path / name, model=model, **inputs)
        NativeGguf().run(NativeParams(type="Q4_0", provenance=False), quantizing)
        digests[name] = {
            row.tensor: row.sha256 for row in samples.rows_of(quantizing.out / "model.gguf")
        }
    assert digests["plain"] != digests["weighed"]
    metadata = reader.read(tmp_path / "weighed" / "model.gguf").metadata
    assert b"imatrix.gguf" in metadata["quantize.imatrix.file"]


def wired(**quantize: Any) -> dict[str, Any]:
    config = pipeline(**quantize)
    config["stages"]["imatrix"] = {
        "uses": "imatrix",
        "needs": {"model": "convert"},
        "with": {"text": TEXT, "chunks": 4},
    }
    config["stages"]["quantize"]["needs"]["imatrix"] = "imatrix"
    return config


def test_a_recipe_wires_it() -> None:
    stages = {made["name"]: made for made in draft("recipe", [job(wired())])["jobs"][0]["stages"]}
    assert stages["quantize"]["needs"] == {"model": "convert", "imatrix": "imatrix"}
    assert stages["imatrix"]["needs"] == {"model": "convert", "text": f"text:{TEXT}"}


def test_a_file_and_a_stage_for_one_matrix_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"quantize\.with\.imatrix .* names stage 'imatrix'"):
        draft("recipe", [job(wired(imatrix="some.gguf"))])


def test_other_inputs_are_still_refused() -> None:
    config = pipeline()
    config["stages"]["quantize"]["needs"]["imatricks"] = "convert"
    with pytest.raises(GraphError, match="no input 'imatricks'; did you mean 'imatrix'"):
        draft("recipe", [job(config)])
