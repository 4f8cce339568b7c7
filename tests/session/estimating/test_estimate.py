"""Estimates beside files that were made, and beside figures reckoned by hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from qpipe import quantize
from qpipe.errors import CheckpointError, RecipeError, SourceError, UsageError
from qpipe.runtimes.cards import cards
from qpipe.session.estimating import calibration, function
from qpipe.session.estimating.conditions import RunConditions, of_options
from qpipe.session.estimating.estimate import EstimatedFormat, estimate

DATA = Path(__file__).parents[3] / "qpipe" / "data"
GIB = 1 << 30


def one(model: str, kind: str, **conditions: object) -> EstimatedFormat:
    (row,) = estimate(model, [kind], RunConditions(**conditions)).rows  # type: ignore[arg-type]
    return row


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_K_M", "Q8_0"])
def test_a_gguf_file_has_the_bytes_that_were_said(kind: str, tmp_path: Path) -> None:
    file = quantize(DATA / "tinystories-d256", tmp_path / "tinystories-d256.gguf", kind)
    assert one("builtin:tinystories-d256", kind).size.file_bytes == file.stat().st_size


def test_a_gguf_files_header_says_the_same_as_its_source(tmp_path: Path) -> None:
    file = quantize(DATA / "tinystories-d256", tmp_path / "a.gguf", "F16")
    for kind in ("Q4_K_M", "Q8_0", "F16"):
        made, said = one(str(file), kind), one("builtin:tinystories-d256", kind)
        assert made.size.tensor_bytes == said.size.tensor_bytes
        assert abs(made.size.file_bytes - said.size.file_bytes) <= 64  # general.name
        assert made.memory == said.memory


def test_grouped_heads_by_hand() -> None:
    """Llama 3.1 8B: 32 layers, 8 heads of 128 for keys and for values, 2 bytes each."""
    row = one("meta-llama/Llama-3.1-8B", "Q8_0", context=8192)
    assert row.memory.kv_cache == 32 * 8192 * 2 * 8 * 128 * 2
    assert row.memory.weights == row.size.tensor_bytes


def test_sliding_windows_are_not_counted_in_full() -> None:
    """Gemma 3 27B: of 62 layers every sixth attends to all 32,768 tokens, the rest to 1,024."""
    row = one("google/gemma-3-27b-it", "Q4_K_M", context=32768)
    kinds = row.memory.by_kind()
    token = 2 * 16 * 128 * 2
    assert kinds["full attention"][:2] == (10, 10 * 32768 * token)
    assert kinds["sliding window"][:2] == (52, 52 * (1024 + 512) * token)


def test_of_experts_all_are_kept_and_some_are_read() -> None:
    answer = estimate("Qwen3-30B-A3B", ["Q4_K_M"])
    (row,) = answer.rows
    assert answer.parameters[0] == pytest.approx(30.5e9, rel=0.01)
    assert answer.parameters[1] == pytest.approx(3.3e9, rel=0.1)  # its name says 3B
    assert row.memory.active_weights < 0.15 * row.memory.weights


def test_several_tokens_read_more_experts_than_one() -> None:
    """8 of 128 experts each: 8 tokens are expected to choose 128 (1 - (1 - 1/16)^8) = 51.6."""
    alone, eight = (one("Qwen3-30B-A3B", "Q8_0", sequences=n).memory for n in (1, 8))
    assert alone.read_weights == alone.active_weights == eight.active_weights
    expert = 48 * 3 * 2048 * 768 * 34 / 32  # bytes of one in Q8_0, of all layers
    assert eight.read_weights - alone.read_weights == pytest.approx(expert * 43.62, rel=1e-3)
    many = one("Qwen3-30B-A3B", "Q8_0", sequences=4096).memory
    assert many.read_weights == pytest.approx(many.weights, rel=0.02)
    dense = one("llama-3.1-8b", "Q8_0", sequences=8).memory
    assert dense.read_weights == dense.active_weights


def test_a_card_that_is_too_small_gets_some_layers() -> None:
    asked = RunConditions(cards=tuple(cards("24GB")), context=32768)
    small, large = estimate("Qwen3-30B-A3B", ["Q4_K_M", "Q8_0"], asked).rows
    assert small.fit.answer == "gpu" and small.fit.lacking == 0
    assert large.fit.answer == "partly" and large.fit.of == 49
    assert 0 < (large.fit.layers or 0) < 49
    assert large.memory.devices["gpu"].total <= 24 * GIB
    assert large.memory.devices["cpu"].kv_cache > 0
    more = estimate("Qwen3-30B-A3B", ["Q8_0"], RunConditions(cards=tuple(cards("2x24GB")))).rows[0]
    assert more.fit.answer == "gpu"


def test_the_longest_context_fits_and_a_longer_one_does_not() -> None:
    card = tuple(cards("10GB"))
    row = one("meta-llama/Llama-3.1-8B", "Q4_K_M", cards=card, context=4096)
    longest = row.fit.context or 0
    assert 8192 < longest < 131072
    at = one("meta-llama/Llama-3.1-8B", "Q4_K_M", cards=card, context=longest)
    beyond = one("meta-llama/Llama-3.1-8B", "Q4_K_M", cards=card, context=longest + 256)
    assert (at.fit.answer, beyond.fit.answer) == ("gpu", "partly")


def test_memory_of_the_machine_bounds_what_runs_on_its_cpu() -> None:
    assert one("llama-3.1-8b", "F16", ram=64 * GIB).fit.answer == "cpu"
    row = one("llama-3.1-8b", "F16", ram=8 * GIB)
    assert row.fit.answer == "no" and row.fit.lacking == row.memory.total - 8 * GIB


def test_vllm_may_take_its_share_of_a_card_alone() -> None:
    """16.06 GB of weights and 1.5 GiB to work with: more than 0.9 × 18 GiB."""
    asked = {"runtime": "vllm", "context": 1024}
    assert one("llama-3.1-8b", "BF16", cards=tuple(cards("18GB")), **asked).fit.answer == "no"
    assert one("llama-3.1-8b", "BF16", cards=tuple(cards("20GB")), **asked).fit.answer == "gpu"


def test_without_a_card_nothing_is_said_of_what_needs_one() -> None:
    row = one("llama-3.1-8b", "awq", runtime="vllm")
    assert row.fit.answer is None and row.fit.context is None


def test_some_twenty_formats_where_none_is_named() -> None:
    answer = estimate("llama-3.1-8b")
    assert len(answer.rows) >= 20 and not answer.left_out
    asked = [row.asked for row in answer.rows]
    assert asked == sorted(asked, reverse=True)


def test_what_is_unknown_is_said() -> None:
    row = one("llama-3.1-8b", "exl2-4bpw", runtime="exllama", cards=tuple(cards("24GB")))
    assert row.unknown == ("overhead",)


def test_a_context_beyond_the_models_is_told() -> None:
    answer = estimate("Qwen3-30B-A3B", ["Q4_0"], RunConditions(context=1 << 20))
    assert any("max_position_embeddings" in note for note in answer.notes)


@pytest.mark.parametrize("number", [0, -1, 1 << 40])
def test_numbers_that_are_none(number: int) -> None:
    with pytest.raises(UsageError, match=f"--ctx {number}"):
        RunConditions(context=number)
    with pytest.raises(UsageError, match=f"--batch {number}"):
        RunConditions(sequences=number)


def test_types_of_the_cache() -> None:
    half = one("llama-3.1-8b", "Q4_0", kv_k="q8_0", kv_v="q8_0")
    assert half.memory.kv_cache * 32 == one("llama-3.1-8b", "Q4_0").memory.kv_cache * 17
    with pytest.raises(UsageError, match="q9_0"):
        one("llama-3.1-8b", "Q4_0", kv_k="q9_0")


def test_models_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"lama-3\.1-8b.*did you mean"):
        estimate("lama-3.1-8b")
    with pytest.raises(CheckpointError, match=r"neither a \.gguf file nor a config\.json"):
        estimate(str(tmp_path))
    with pytest.raises(UsageError, match="no such file"):
        estimate(str(tmp_path / "config.json"))
    with pytest.raises(SourceError, match="nothing"):
        estimate("builtin:nothing")


def test_a_config_that_lacks_fields_says_which(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"architectures": ["LlamaForCausalLM"], "model_type": "llama"}))
    with pytest.raises(CheckpointError, match=r"hidden_size|vocab_size|num_hidden_layers"):
        estimate(str(file))
    file.write_text("{}")
    with pytest.raises(CheckpointError, match="missing"):
        estimate(str(file))


def test_options_become_conditions() -> None:
    asked = of_options("vllm", ["24GB", "2x 48GB"], "32GB", context=4096)
    assert len(asked.cards) == 3 and asked.gpu_memory == 120 * GIB and asked.ram == 32 * GIB
    with pytest.raises(UsageError, match="--ram much"):
        of_options("vllm", [], "much")
    with pytest.raises(UsageError, match="did you mean 'vllm'"):
        of_options("vlm", [], None)


def test_a_machine_without_a_card() -> None:
    answer = function.estimate("llama-3.1-8b", ["Q8_0"], gpu="none", ram="8GB")
    assert answer.conditions.cards == () and answer.rows[0].fit.answer == "no"
    with pytest.raises(UsageError, match="--runtime vllm and --gpu none contradict each other"):
        function.estimate("llama-3.1-8b", gpu="none", runtime="vllm")


def test_memory_of_a_chip_is_shared() -> None:
    answer = function.estimate("llama-3.1-70b", ["Q4_K_M", "Q8_0"], gpu="M3 Max 64GB", ram="64GB")
    small, large = (row.fit for row in answer.rows)
    assert (small.answer, large.answer) == ("gpu", "no"), "48 of 64 GiB are the GPU's"
    assert any("48 of its 64 GiB" in note for note in answer.notes)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"kv": "potato"}, "--kv potato: llama.cpp has no cache of type 'potato'"),
        ({"kv": "q8_0", "runtime": "vllm"}, "--kv q8_0: vllm has no cache"),
        ({"ctx": "long"}, "--ctx long"),
        ({"batch": 0}, "--batch 0"),
        ({"gpu": "potato"}, "--gpu potato"),
        ({"gpu": ["24GB", "RTX 4091"]}, "did you mean GeForce RTX 4090"),
    ],
)
def test_what_means_nothing_is_refused(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        function.estimate("llama-3.1-8b", **asked)
    assert words in str(caught.value)


def test_what_a_runtime_does_not_know_is_left_out() -> None:
    answer = estimate("google/gemma-4-26B-A4B-it")
    why = dict(answer.left_out)
    assert "as if it were a Llama" in why["EXL2-4.0bpw"]
    assert "Q4_K_M" in {row.format.name for row in answer.rows}
    with pytest.raises(RecipeError, match="Gemma4ForConditionalGeneration"):
        estimate("google/gemma-4-26B-A4B-it", ["exl2-4.0bpw"])


def test_an_architecture_that_is_not_known_is_read_from_headers(tmp_path: Path) -> None:
    """stories260K under another name: packed formats as of the known one, GGUF left out."""
    folder = tmp_path / "model"
    shutil.copytree(DATA / "tinystories-d256", folder)
    fields = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps({**fields, "architectures": ["OddForCausalLM"], "model_type": "odd"})
    )
    answer = estimate(str(folder))
    assert {name for name, _ in answer.left_out} >= {"Q4_K_M", "Q8_0"}
    found = {row.format.name: row for row in answer.rows}
    known = one("builtin:tinystories-d256", "BF16", runtime="vllm", context=answer.context)
    assert found["BF16"].size.file_bytes == known.size.file_bytes
    assert found["BF16"].memory.kv_cache == known.memory.kv_cache
    assert any("headers" in note for note in found["BF16"].notes)
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="OddForCausalLM"):
        estimate(str(folder))


def test_a_speed_needs_figures_that_were_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """8 GB of weights at 10 GB/s: 1.25 tokens a second; at the end of the context the cache too."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert one("llama-3.1-8b", "Q8_0", ram=64 * GIB).speed is None
    calibration.keep(calibration.Calibration(10e9, 1e12, 2, False, 0.0))
    row = one("llama-3.1-8b", "Q8_0", ram=64 * GIB)
    assert row.speed is not None
    table = 128256 * 4096 * 34 // 32  # of which a token reads one row
    active = row.memory.weights - table
    assert row.speed.generation == pytest.approx(10e9 / active)
    assert row.speed.generation_full == pytest.approx(10e9 / (active + row.memory.kv_cache))
    assert row.speed.prompt == pytest.approx(1e12 / 2 / 7.5e9, rel=0.01)


def test_a_table_on_the_host_is_not_read_by_the_card() -> None:
    """All that llama.cpp puts on a card is read for each token of a dense model."""
    row = one("llama-3.1-8b", "Q8_0", cards=tuple(cards("RTX 4090")))
    assert row.speed is not None
    assert row.speed.generation == pytest.approx(1008e9 / row.memory.devices["gpu"].weights)


def test_several_sequences_share_the_reading_of_weights() -> None:
    card = tuple(cards("H100"))
    single = one("llama-3.1-8b", "BF16", runtime="vllm", cards=card, context=1024).speed
    many = one("llama-3.1-8b", "BF16", runtime="vllm", cards=card, context=1024, sequences=8).speed
    assert single is not None and many is not None
    assert many.generation == pytest.approx(8 * single.generation)
    assert many.generation_full < 8 * single.generation
