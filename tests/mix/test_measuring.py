"""Losses measured in a real model, and files that are made of them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from qpipe.errors import CheckpointError
from qpipe.evaluators.text.distributions import KLD
from qpipe.evaluators.text.token_scores import GroupFiles, WindowPass
from qpipe.gguf.quantize import read
from qpipe.gguf.types import GGMLType
from qpipe.llamacpp.backend import LlamaCppBackend
from qpipe.llamacpp.weights import LoadedWeights
from qpipe.mix.forms import as_it_is
from qpipe.mix.swaps import Swaps
from tests.cli import called

RUN = (
    *("run", "local", "model.source=builtin:stories260K", "executor=inline"),
    *("evaluate=kld", "evaluate.n_ctx=64", "evaluate.chunks=24"),
    "evaluate.text=builtin:texts/tinystories_lower_heldout.txt",
)
MEASURED = (
    *("calibration.length=64", "calibration.samples=16"),
    *("stages.sensitivity.with.types=[IQ4_NL, Q5_1, Q8_0]", "stages.sensitivity.with.levels=4"),
)


def test_a_swap_is_what_the_file_with_it_computes(
    gguf_of: Callable[[str, str], Path], tmp_path: Path
) -> None:
    path, other = gguf_of("stories260K", "F16"), gguf_of("stories260K", "Q4_K_S")
    tokens = np.arange(6 * 32, dtype=np.int32).reshape(6, 32) % 500
    order = range(len(tokens))
    with Swaps(path, threads=1, folder=tmp_path) as swaps:
        own = {output.name: output.type for output in swaps.outputs}
        mix = {
            output.name: as_it_is(output)
            for output in read(other).outputs
            if output.type != own.get(output.name, output.type)
        }
        types = {tensor.type for tensor in mix.values()}
        assert types == {GGMLType.Q5_0, GGMLType.Q5_1, GGMLType.Q8_0}
        swaps.start(tokens)
        assert abs(swaps.kld({}, order)).max() < 1e-4
        whole = swaps.kld(mix, order)
        assert whole.min() > 1e-3  # far above the rounding of what is stored
        assert abs(swaps.kld({}, order)).max() < 1e-4  # it is there again
        assert swaps.kld(mix, [4]) == pytest.approx(whole[[4]], rel=1e-3)
        assert swaps.windows is not None
        assert swaps.scorer is not None
        with LlamaCppBackend(other, threads=1) as backend:
            work = WindowPass(
                backend, swaps.windows, order=order, files=GroupFiles(None), filled=True
            )
            work.run(swaps.scorer)
        assert whole == pytest.approx([each[:, KLD].mean() for each in work.values], rel=1e-3)
    assert not any(tmp_path.iterdir())


def test_weights_are_of_the_size_that_they_have(gguf_of: Callable[[str, str], Path]) -> None:
    path = gguf_of("stories260K", "F16")
    with LlamaCppBackend(path, threads=1, writable=True) as backend:
        weights = LoadedWeights(backend.model)
        assert "blk.0.attn_q.weight" in weights
        assert "blk.9.attn_q.weight" not in weights
        wrong = np.zeros(10, np.uint8)
        with pytest.raises(CheckpointError, match="holds 8,192 bytes in that type"):
            weights.replace("blk.0.attn_q.weight", wrong, GGMLType.F16)
        with pytest.raises(CheckpointError, match="holds 4,352 bytes in that type"):
            weights.replace("blk.0.attn_q.weight", wrong, GGMLType.Q8_0)
        weights.replace("blk.0.attn_q.weight", np.zeros(4352, np.uint8), GGMLType.Q8_0)
        weights.replace("blk.0.attn_q.weight", np.zeros(8192, np.uint8), GGMLType.F16)
        with pytest.raises(CheckpointError, match="has room for 8,192 bytes"):
            weights.replace("blk.0.attn_q.weight", np.zeros(16384, np.uint8), GGMLType.F32)
        with pytest.raises(CheckpointError, match="none of that name"):
            weights.replace("blk.9.attn_q.weight", wrong, GGMLType.F16)


@pytest.mark.slow
def test_a_target_is_kept_and_beats_the_name(tmp_path: Path) -> None:
    standard = called(*RUN, "quantize.type=Q4_K_M", "--json", cwd=tmp_path)
    assert standard.code == 0, standard.stderr
    (beside,) = [r for r in json.loads(standard.stdout)["rows"] if r["format"] == "Q4_K_M"]
    size = beside["size_bytes"]
    targets = f"quantize.target={{size: {size}}},{{bpw: 9.0}}"
    answer = called(*RUN, *MEASURED, "-m", targets, "--json", cwd=tmp_path)
    assert answer.code == 0, answer.stderr
    rows = json.loads(answer.stdout)["rows"]
    mixes = [row for row in rows if row["format"] not in ("F16", "f16")]
    assert len(mixes) == 2
    assert mixes[0]["size_bytes"] <= size < mixes[1]["size_bytes"]
    assert mixes[1]["bits_per_weight"] <= 9.0
    assert mixes[0]["kld"] < beside["kld"]
    # Measured once for both.
    (losses,) = (tmp_path / "outputs/store/artifacts").glob("*/*/sensitivity.csv")
    with losses.open() as file:
        lines = [*csv.DictReader(file)]
    assert {line["type"] for line in lines} == {"IQ4_NL", "Q5_1", "Q8_0", "F16"}
    assert sum(line["measured"] == "True" for line in lines) == 3 * 31

    small = called(*RUN, *MEASURED, "quantize.target={size: 1kB}", cwd=tmp_path)
    assert small.code != 0
    assert "the smallest is" in small.stderr
    assert "the largest" in small.stderr


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["quantize.type=Q4_K_M"], "type is Q4_K_M, and target chooses the types"),
        (["quantize.pure=true"], "target and pure both say the type"),
        (["quantize.engine=llama.cpp"], "chosen by engine native alone"),
    ],
)
def test_what_contradicts_a_target_is_refused(more: list[str], words: str, tmp_path: Path) -> None:
    answer = called(
        "plan", "local", "model.source=builtin:stories260K", "quantize.target={size: 1MB}", *more,
        cwd=tmp_path,
    )  # fmt: skip
    assert answer.code == 2
    assert words in " ".join(answer.stderr.split())


def test_without_a_target_nothing_is_measured(tmp_path: Path) -> None:
    plan = ("plan", "local", "model.source=builtin:stories260K", "--json")
    answer = called(*plan, cwd=tmp_path)
    assert answer.code == 0, answer.stderr
    assert "sensitivity" not in answer.stdout
    assert "sensitivity" in called(*plan, "quantize.target={size: 300kB}", cwd=tmp_path).stdout
