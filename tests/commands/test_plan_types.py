"""`qpipe plan` knows each tensor's type and the exact size of what a run will make."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from qpipe.gguf import reader
from qpipe.support.tensor_names import shortened
from tests.cli import by_stage, called
from tests.gguf import samples

pytestmark = pytest.mark.slow

MODEL = samples.MODELS["tinystories-d256"]
TEXT = samples.ROOT / "tests" / "data" / "texts" / "tinystories_train_head_ascii.txt"


def planned(cwd: Path, *overrides: str, code: int = 0) -> dict[str, dict[str, Any]]:
    source = f"model.source={MODEL}"
    answer = called("plan", "local", source, *overrides, "--json", cwd=cwd)
    assert answer.code == code, answer
    nodes = json.loads(answer.stdout)["nodes"]
    return by_stage(nodes) | {node["name"]: node for node in nodes}


@pytest.mark.parametrize("made_before", [False, True])
def test_types_and_sizes_are_those_of_the_files(tmp_path: Path, made_before: bool) -> None:
    """Whether the checkpoint has to be brought into the store yet, or is there."""
    matrix = samples.imatrix_of("tinystories-d256")
    wishes = (
        *("evaluate=none", "quantize.type=Q4_K_M,Q2_K,F16", f"quantize.imatrix={matrix}"),
        "quantize.tensor_types={ffn_down: Q8_0}",
    )
    if made_before:
        source = f"model.source={MODEL}"
        called("run", "local", source, "evaluate=none", f"quantize.imatrix={matrix}", cwd=tmp_path)
    before = planned(tmp_path, "-m", *wishes)
    answer = called("run", "local", f"model.source={MODEL}", "-m", *wishes, "--json", cwd=tmp_path)
    assert answer.code == 0, answer
    made = [n for n in json.loads(answer.stdout)["nodes"] if n["stage"] == "quantize"]
    assert len(made) == 3
    for node in made:
        (file,) = Path(node["artifact"]).glob("*.gguf")
        types = {name: tensor.type.name for name, tensor in reader.read(file).tensors.items()}
        assert before[node["name"]]["tensors"] == types
        assert before[node["name"]]["facts"]["size_bytes"] == file.stat().st_size


def test_what_is_made_already_is_not_looked_at_again(tmp_path: Path) -> None:
    source = f"model.source={MODEL}"
    assert called("run", "local", source, "evaluate=none", cwd=tmp_path).code == 0
    assert "tensors" not in planned(tmp_path, "evaluate=none")["quantize"]


def test_a_reference_may_be_null(tmp_path: Path) -> None:
    assert "perplexity_reference" not in planned(tmp_path, "run.reference=null")


def test_it_reads_well(tmp_path: Path) -> None:
    words = ("plan", "local", f"model.source={MODEL}", "quantize.type=Q4_K_M", "--all")
    said = called(*words, cwd=tmp_path)
    assert (
        "\nquantize[tinystories-d256 Q4_K_M]: Q4_K_M, 2,137,472 bytes, 4.955 bits per weight\n"
        in said.stdout
    )
    assert "\n  Q6_K  token_embd.weight  blk.{2-3}.attn_v.weight  blk" in said.stdout


def test_what_would_fail_is_said_before_anything_runs(tmp_path: Path) -> None:
    node = planned(tmp_path, "quantize.type=IQ2_XXS", code=2)["quantize"]
    assert "garbage without an importance matrix" in node["error"]
    folder = tmp_path / "damaged"
    shutil.copytree(MODEL, folder)
    config = json.loads((folder / "config.json").read_text()) | {"architectures": ["Unheard"]}
    (folder / "config.json").write_text(json.dumps(config))
    answer = called("plan", "local", f"model.source={folder}", cwd=tmp_path)
    assert answer.code == 1
    assert "quantize[damaged Q8_0] would fail: " in answer.stdout
    assert "'Unheard'" in answer.stdout


def test_what_a_file_leaves_out_of_config_json_is_noted(tmp_path: Path) -> None:
    """In plan and in the row; what would be computed otherwise is refused before anything runs."""
    folder = tmp_path / "edited"
    shutil.copytree(MODEL, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"sliding_window": 64}))
    source = f"model.source={folder}"
    note = "config.json: sliding_window 64 has no effect in llama.cpp, which attends to the whole "
    planned_ = called("plan", "local", source, "evaluate=none", "--all", cwd=tmp_path)
    assert f"note: quantize[edited Q8_0]: {note}" in planned_.stdout
    made = called("run", "local", source, "evaluate=none", "--json", cwd=tmp_path)
    (row,) = json.loads(made.stdout)["rows"]
    assert [text for text in row["notes"] if text.startswith(note)]
    (folder / "config.json").write_text(json.dumps(config | {"hidden_act": "gelu"}))
    refused = called("plan", "local", source, "evaluate=none", cwd=tmp_path)
    assert refused.code == 1
    assert "field 'hidden_act' is 'gelu': llama.cpp computes silu whatever" in refused.stdout


def test_an_importance_matrix_that_is_not_made_yet_leaves_types_open(tmp_path: Path) -> None:
    nodes = planned(
        tmp_path,
        f"+stages.imatrix={{uses: imatrix, needs: {{model: convert}}, with: {{text: {TEXT}}}}}",
        "+stages.quantize.needs.imatrix=imatrix",
    )
    assert "tensors" not in nodes["quantize"]
    assert "tensors" in nodes["convert"]


KLD = ("evaluate=kld", "evaluate.n_ctx=64")


def test_what_a_reference_takes_is_forecast_before_there_is_one(tmp_path: Path) -> None:
    """At most, from the bytes of the text; exactly, once it is tokenized."""
    short = tmp_path / "short.txt"
    short.write_text(TEXT.read_text()[:4000])
    text = f"evaluate.text={short}"
    kld = (*KLD, text)
    cold = planned(tmp_path, *kld)
    assert cold["tokens"]["at_most"]
    assert cold["kld_reference"]["at_most"]
    most, row = cold["tokens"]["facts"]["tokens_scored"], 2 * 1024 + 8
    assert cold["kld_reference"]["facts"]["size_bytes"] == most * row
    some = planned(tmp_path, *kld, "evaluate.chunks=3")
    assert some["tokens"]["facts"]["tokens_scored"] == 3 * 31
    assert some["kld_reference"]["facts"]["size_bytes"] == 3 * 31 * row
    source = f"model.source={MODEL}"
    words = called("plan", "local", source, *kld, "evaluate.chunks=3", "-v", cwd=tmp_path).stdout
    assert (
        f"\nkld_reference[tinystories-d256]: log-probabilities, at most {3 * 31 * row:,} bytes\n"
        in words
    )
    answer = called("run", "local", source, *kld, "evaluate.chunks=3", "--json", cwd=tmp_path)
    nodes = by_stage(json.loads(answer.stdout)["nodes"])
    made = Path(nodes["kld_reference"]["artifact"]) / "distributions.bin"
    assert made.stat().st_size == 3 * 31 * row
    wholly = ("evaluate=perplexity", *kld[1:])
    answer = called("run", "local", source, *wholly, "--json", cwd=tmp_path)
    tokens = Path(by_stage(json.loads(answer.stdout)["nodes"])["tokens"]["artifact"])
    scored = 31 * json.loads((tokens / "tokens.json").read_bytes())["available"]
    warm = planned(tmp_path, *kld)["kld_reference"]
    assert not warm["at_most"]
    assert warm["facts"]["size_bytes"] == scored * row < most * row


def test_a_top_k_that_saves_nothing_is_said_before_anything_runs(tmp_path: Path) -> None:
    node = planned(tmp_path, *KLD, "evaluate.top_k=700", code=2)["kld_reference"]
    assert "leave top_k out, or give a smaller one" in node["error"]


def test_layers_in_short() -> None:
    names = ["token_embd.weight", *(f"blk.{n}.attn_q.weight" for n in (0, 1, 2, 5, 7, 8))]
    assert shortened(names) == ["token_embd.weight", "blk.{0-2,5,7-8}.attn_q.weight"]
