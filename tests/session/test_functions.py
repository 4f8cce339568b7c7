"""Single steps as functions: the same bytes and figures as by a recipe."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import qpipe
from qpipe.errors import CheckpointError, DataError, RecipeError, SourceError, UsageError
from tests.session.conftest import Swept

MODEL = "builtin:tinystories-d256"
TEXT = "builtin:texts/tinystories_lower_heldout.txt"


def test_converted_and_quantized_in_two_steps_or_in_one(tmp_path: Path) -> None:
    half = qpipe.convert(MODEL, tmp_path / "half.gguf", name="tiny")
    assert qpipe.inspect(half)["file_type"] == "F16"
    done: list[int] = []
    in_two = qpipe.quantize(
        half, tmp_path / "two.gguf", "Q4_K_M", threads=1, progress=lambda n, of: done.append(n)
    )
    in_one = qpipe.quantize(MODEL, str(tmp_path / "one.gguf"), "Q4_K_M")
    two, one = qpipe.inspect(in_two), qpipe.inspect(in_one)
    assert (one["file_type"], one["types"]) == (two["file_type"], two["types"])
    amount = two["tensor_bytes"]
    assert done[-1] == amount == one["tensor_bytes"]
    assert in_one.read_bytes()[-amount:] == in_two.read_bytes()[-amount:]
    named = qpipe.quantize(
        half, tmp_path / "q8.gguf", "Q4_0", tensor_types={"attn_v": "q8_0"}, threads=2
    )
    types = {t["name"]: t["type"] for t in qpipe.inspect(named)["tensors"]}
    assert types["blk.0.attn_v.weight"] == "Q8_0" and types["blk.0.attn_q.weight"] == "Q4_0"


def test_what_cannot_be_made(tmp_path: Path) -> None:
    file = qpipe.quantize(MODEL, tmp_path / "q.gguf", "Q8_0")
    with pytest.raises(CheckpointError, match="twice"):
        qpipe.quantize(file, tmp_path / "r.gguf", "Q4_0")
    with pytest.raises(RecipeError, match="Q4_KM"):
        qpipe.quantize(MODEL, tmp_path / "r.gguf", "Q4_KM")
    with pytest.raises(RecipeError, match="importance matrix"):
        qpipe.quantize(MODEL, tmp_path / "r.gguf", "IQ1_S")
    with pytest.raises(SourceError, match=r"qpipe\.load"):
        qpipe.quantize("someone/model", tmp_path / "r.gguf", "Q4_0")
    with pytest.raises(UsageError, match="there is no folder"):
        qpipe.convert(MODEL, tmp_path / "none" / "r.gguf")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(CheckpointError, match="checkpoint's folder"):
        qpipe.quantize(tmp_path / "notes.txt", tmp_path / "r.gguf", "Q4_0")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "q.gguf"]


@pytest.mark.parametrize("name", [f"{'x' * 250}.gguf", "y" * 300])
def test_a_file_that_the_system_does_not_take(tmp_path: Path, name: str) -> None:
    for out in (tmp_path / name, Path("/proc/self") / name[:9]):
        with pytest.raises(UsageError) as error:
            qpipe.quantize(MODEL, out, "Q8_0")
        assert str(error.value).startswith(f"{out}: the file cannot be written there (")
    assert not [*tmp_path.iterdir()]


def test_what_is_read_is_not_written_over(tmp_path: Path) -> None:
    half = qpipe.convert(MODEL, tmp_path / "half.gguf")
    before = half.read_bytes()
    (tmp_path / "link.gguf").symlink_to(half)
    for out in (half, tmp_path / "link.gguf"):
        with pytest.raises(UsageError, match="is part of what is read; write to another file"):
            qpipe.quantize(half, out, "Q8_0")
    assert half.read_bytes() == before
    with pytest.raises(UsageError, match="is a folder; give the file to write"):
        qpipe.quantize(half, tmp_path, "Q8_0")


def test_a_folder_of_several_models_is_none(tmp_path: Path) -> None:
    """The first by name is nobody's choice."""
    half = qpipe.convert(MODEL, tmp_path / "b.gguf")
    qpipe.quantize(half, tmp_path / "a.gguf", "Q8_0")
    for use in (
        lambda: qpipe.perplexity(tmp_path, TEXT, chunks=1),
        lambda: qpipe.quantize(tmp_path, tmp_path / "c.gguf", "Q4_0"),
        lambda: qpipe.inspect(tmp_path),
    ):
        with pytest.raises(CheckpointError, match=r"holds a\.gguf, b\.gguf; give the path of one"):
            use()
    with pytest.raises(DataError, match="cannot be read"):
        qpipe.perplexity(half, tmp_path)


def test_a_device_that_a_model_cannot_be_measured_on(tmp_path: Path) -> None:
    half = qpipe.convert(MODEL, tmp_path / "a.gguf")
    with pytest.raises(UsageError, match=r"device=cuda: a\.gguf is a GGUF file, which llama\.cpp"):
        qpipe.perplexity(half, TEXT, chunks=1, device="cuda")
    with pytest.raises(UsageError, match="device='gpu': it is auto, cpu or cuda"):
        qpipe.perplexity(MODEL, TEXT, chunks=1, device="gpu")


@pytest.mark.slow
def test_perplexity_is_that_of_a_recipe(swept: Swept) -> None:
    row = swept.comparison.rows[-1]
    assert row.path is not None
    measured = qpipe.perplexity(row.path, TEXT, chunks=2)
    (score,) = measured.scores
    assert score.value == pytest.approx(row.scores["ppl"].value, rel=1e-6)
    assert score.stderr == pytest.approx(row.scores["ppl"].stderr, rel=1e-6)
    assert (score.name, measured.protocol) == ("ppl", "llamacpp-512 chunks=2")
    (recipe,) = row.measurements
    assert (measured.on, measured.by) == (recipe.measurement.on, recipe.measurement.by)
    with pytest.raises(UsageError, match="llamacpp-512"):
        qpipe.perplexity(row.path, TEXT, protocol="llamacpp-521")


def test_an_artifact_is_inspected_by_its_key(swept: Swept) -> None:
    store = qpipe.Store(swept.session.store)
    artifact = next(a for a in store if a.manifest.name == "quantize[tinystories-d256 Q4_0]")
    description = qpipe.inspect(artifact.key[:12], store=swept.session.store)
    assert description["made_by"]["key"] == artifact.key
    errors = {each["type"]: each["error"] for each in description["tensors"]}
    assert 0.05 < errors["Q4_0"] < 0.12
    assert errors["F32"] is None
    (noted,) = swept.session.runs.glob("*/tensors.json")
    models = json.loads(noted.read_bytes())["models"]
    assert models[artifact.key] == artifact.manifest.facts["tensor_details"]
    assert '"name":"ffn_down"' in noted.with_name("report.html").read_text("utf-8")
    (link,) = swept.session.runs.glob("*/models/*Q4_0.gguf")
    assert qpipe.inspect(link, store=swept.session.store)["tensors"] == description["tensors"]
    assert not any(each["error"] for each in qpipe.inspect(link)["tensors"])
    assert qpipe.inspect(MODEL)["made_by"] is None
