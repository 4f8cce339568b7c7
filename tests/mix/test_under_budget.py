"""Files and checkpoints that a run makes for a target."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli import Answer, called, qpipe
from tests.mix.test_measuring import MEASURED, RUN

CHECKPOINT = (
    *("run", "local", "model.source=builtin:tinystories-d256"),
    *("calibration.length=64", "calibration.samples=24", "stages.sensitivity.with.levels=3"),
    *("evaluate=kld", "evaluate.n_ctx=64", "evaluate.chunks=16"),
    "evaluate.text=builtin:texts/tinystories_lower_heldout.txt",
)


def rows(answer: Answer) -> list[dict[str, Any]]:
    assert answer.code == 0, answer.stderr
    made: list[dict[str, Any]] = json.loads(answer.stdout)["rows"]
    return [row for row in made if not row["reference"]]


@pytest.mark.slow
def test_a_divergence_is_held_on_the_file(tmp_path: Path) -> None:
    bound = 0.03
    asked = (*RUN, *MEASURED, f"quantize.target={{kld: {bound}}}", "--json")
    (row,) = rows(called(*asked, cwd=tmp_path))
    (file,) = (tmp_path / "outputs/store/artifacts").glob("*/*/mix.json")
    mix = json.loads(file.read_text())
    assert mix["kld"] + mix["half"] <= bound
    tries = {each["file_bytes"]: each["kld"] + each["half"] for each in mix["tries"]}
    assert min(size for size, upper in tries.items() if upper <= bound) == pytest.approx(
        row["size_bytes"], abs=4096
    )
    assert any(f"kld {mix['kld']:.3g}" in note for note in row["notes"])
    # On other text it is much the same.
    assert row["kld"] < 1.5 * bound
    again = called(*RUN, *MEASURED, f"quantize.target={{kld: {bound}, size: 100kB}}", cwd=tmp_path)
    assert again.code != 0
    assert "contradict each other" in again.stderr


@pytest.mark.slow
def test_memory_is_kept_and_forecast(tmp_path: Path) -> None:
    target = "quantize.target={memory: 1.36MB, ctx: 256, kv: q8_0}"
    (row,) = rows(called(*RUN, *MEASURED, target, "--json", cwd=tmp_path))
    other = target.replace("1.36MB", "1.38MB")  # chosen from the same losses, and not made yet
    plan = called("plan", *RUN[1:], *MEASURED, other, cwd=tmp_path)
    for text in (" ".join(row["notes"]), " ".join(plan.stdout.split())):
        assert "memory in llama.cpp on the CPU with 256 tokens, forecast" in text


@pytest.mark.slow
@pytest.mark.xdist_group("engines")
@pytest.mark.parametrize("method", ["gptq", "autoround"])
def test_a_checkpoint_keeps_its_bits(method: str, tmp_path: Path) -> None:
    more = ["quantize.iters=0"] if method == "autoround" else []
    words = [*CHECKPOINT, f"quantize={method}", *more]
    bits = (4.8, 5.4) if method == "autoround" else (6.6, 8.0)
    targets = "quantize.target=" + ",".join(f"{{bpw: {each}}}" for each in bits)
    made = rows(qpipe(*words, "-m", targets, "--json", cwd=tmp_path, timeout=600))
    for row, most in zip(made, bits, strict=True):
        assert most - 0.2 < row["bits_per_weight"] <= most
    assert made[0]["kld"] > made[1]["kld"]
    store = tmp_path / "outputs/store/artifacts"
    assert len([*store.glob("*/*/sensitivity.json")]) == 1, "measured once for both"
    for path in store.glob("*/*/quantize_config.json"):
        dynamic = json.loads(path.read_text())["dynamic"]
        assert len({str(rule) for rule in dynamic.values()}) > 1
        wholes = [name for name in dynamic if "qkv_proj" in name or "gate_up_proj" in name]
        parts = [name for name in dynamic if r"\.q_proj" in name or r"\.gate_proj" in name]
        assert len(wholes) == len(parts) > 0
