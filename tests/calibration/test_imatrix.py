"""The imatrix stage, and the quantize stage that takes what it made."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qpipe.calibration.imatrix import Imatrix, ImatrixParams
from qpipe.engines.gguf import NativeGguf, NativeParams
from qpipe.errors import DataError, GraphError, RecipeError
from qpipe.gguf import imatrix, reader
from qpipe.gguf.convert import convert
from qpipe.machine.filesystem import link
from qpipe.recipe.draft_builder import draft
from qpipe.stages.base import Work
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


def test_a_data_set_is_read_no_further_than_windows_reach(gguf_of: Gguf, tmp_path: Path) -> None:
    """Its last line is no JSON, and never read; the matrix is that of a text of the rest."""
    stories = [story for story in STORIES.read_text()[:60_000].split("\n") if story]
    records = tmp_path / "c4.json"
    lines = [json.dumps({"text": story}) for story in stories]
    records.write_text("\n".join([*lines, "cut sho"]))
    text = tmp_path / "all.txt"
    text.write_text("\n".join(stories))
    weights = []
    for number, file in enumerate((records, text)):
        (tmp_path / str(number)).mkdir()
        run(tmp_path / str(number), gguf_of("stories260K", "F32"), file, n_ctx=64, chunks=4)
        weights.append(imatrix.read(tmp_path / str(number) / "out" / "imatrix.gguf").weights)
    for name, values in weights[0].items():
        assert np.array_equal(values, weights[1][name])


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


CHAT = "{% for m in messages %}<s>{{ m.role }} {{ m.content }}</s>{% endfor %}"


def chatting(gguf_of: Gguf, tmp_path: Path, template: str) -> Path:
    """stories260K with a chat template."""
    folder = samples.copy_model("stories260K", tmp_path / "chatting")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": template}))
    convert(folder, tmp_path / "chatting.gguf", outtype="F32")
    return tmp_path / "chatting.gguf"


def test_the_chat_template_in_the_file_is_applied(gguf_of: Gguf, tmp_path: Path) -> None:
    """The figures are those of the same text written out, control tokens read as such."""
    from qpipe.llamacpp.importance import importance

    story = "once upon a time there was a dog. "
    turns = [{"role": "user", "content": story * 3}, {"role": "assistant", "content": story}]
    text = tmp_path / "chat.jsonl"
    text.write_text("\n".join([json.dumps({"messages": turns})] * 10))
    model = chatting(gguf_of, tmp_path, CHAT + "{{ strftime_now('%Y') }}")
    facts = run(tmp_path, model, text, n_ctx=64, chat_template=True, date="1999-12-31")

    written = "".join(f"<s>{turn['role']} {turn['content']}</s>" for turn in turns) + "1999"
    wanted = importance(model, written * 10, n_ctx=64, chunks=None, threads=2, parse_special=True)
    assert facts["tokens_in_text"] == wanted.text_tokens
    found = imatrix.read(tmp_path / "out" / "imatrix.gguf").weights
    assert found.keys() == wanted.entries.keys()
    name = "blk.2.ffn_down.weight"
    given = wanted.entries[name].sums / wanted.entries[name].counts[:, None]
    np.testing.assert_allclose(np.ravel(found[name]), np.ravel(given), rtol=1e-5)


def test_a_chat_template_that_is_not_there(gguf_of: Gguf, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"calibration\.chat_template: the model has no chat"):
        run(tmp_path, gguf_of("stories260K", "F32"), chat_template=True)


def test_settings_without_effect_are_refused() -> None:
    with pytest.raises(ValueError, match=r"calibration\.seed=3: .* first windows"):
        ImatrixParams(text="(input)", seed=3)
    with pytest.raises(ValueError, match="only chat templates are told a day"):
        ImatrixParams(text="(input)", date="2026-01-01")
    with pytest.raises(ValueError, match="'1 May' is no day"):
        ImatrixParams(text="(input)", chat_template=True, date="1 May")


def test_keys_are_as_they_were_without_a_template() -> None:
    assert ImatrixParams(text="(input)").model_dump(mode="json").keys() == {
        "text", "field", "n_ctx", "chunks", "with_output",
    }  # fmt: skip
    given = ImatrixParams(text="(input)", chat_template=True, date="2026-01-01")
    assert given.model_dump(mode="json")["date"] == "2026-01-01"


@pytest.mark.slow
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
    stages = {made["name"]: made for made in draft([job(wired())])["jobs"][0]["stages"]}
    assert stages["quantize"]["needs"] == {"model": "convert", "imatrix": "imatrix"}
    assert stages["imatrix"]["needs"] == {"model": "convert", "text": f"text:{TEXT}"}


def test_a_file_and_a_stage_for_one_matrix_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"quantize\.with\.imatrix .* names stage 'imatrix'"):
        draft([job(wired(imatrix="some.gguf"))])


def test_other_inputs_are_still_refused() -> None:
    config = pipeline()
    config["stages"]["quantize"]["needs"]["imatricks"] = "convert"
    with pytest.raises(GraphError, match="no input 'imatricks'; did you mean 'imatrix'"):
        draft([job(config)])
