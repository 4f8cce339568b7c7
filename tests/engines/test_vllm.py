"""What qpipe makes, loaded and measured by vLLM in its own environment, beside transformers."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli import called
from tests.engines.running import MEASURED, Bench, rows
from tests.engines.ways import EIGHT, FOUR
from tests.vllm_environment import NEEDED, installed

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("engines"), *NEEDED]

# Nats a token that vLLM's figure may differ by from transformers' in float32. Activations of eight
# bits are scaled otherwise (docs/evaluation.md): what is near the middle of two steps goes astray.
WITHIN = {FOUR["GPTQ-4bit-g128"]: 1e-3, FOUR["W4A16-g128"]: 1e-3, FOUR["AWQ-4bit-g128"]: 1e-3,
          EIGHT["W8A8"]: 1e-2, ("quantize=fp8",): 1e-2}  # fmt: skip
WAYS = list(WITHIN)
SPEED = ("evaluate=speed", "evaluate.backend=vllm", "evaluate.n_prompt=32", "evaluate.n_gen=8",
         "evaluate.batch_size=4", "evaluate.warmup=1", "evaluate.repeats=2")  # fmt: skip
TIMED = ("speed", WAYS[0])


@pytest.fixture(scope="session")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of environments, with vLLM's."""
    with installed(tmp_path_factory) as folder:
        yield folder


Documents = dict[tuple[str, tuple[str, ...]], dict[str, Any]]


@pytest.fixture(scope="session")
def measured(bench: Bench, engines: Path) -> Documents:
    """The documents of runs by both, in one process, by backend and way."""
    for way in WAYS:
        bench.run(*way)
    runs = [(backend, way) for backend in ("transformers", "vllm") for way in WAYS]
    asked = [("evaluate=kld", f"evaluate.backend={by}", *MEASURED, *way) for by, way in runs]
    return dict(zip([*runs, TIMED], bench.several(*asked, (*SPEED, *WAYS[0])), strict=True))


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_figure_is_that_of_transformers(measured: Documents, way: tuple[str, ...]) -> None:
    reference, made = rows(measured["vllm", way])
    others, other = rows(measured["transformers", way])
    assert abs(math.log(reference["ppl"] / others["ppl"])) < 1e-5
    assert abs(math.log(made["ppl"] / other["ppl"])) < WITHIN[way]
    assert abs(made["kld"] / other["kld"] - 1) < 0.1


def test_a_result_says_how_it_was_computed_and_served(
    measured: Documents,
) -> None:
    document = measured["vllm", FOUR["GPTQ-4bit-g128"]]
    (reference,), (made,) = ([m["backend"] for m in row["measurements"]] for row in rows(document))
    assert "float32, cpu, CPU_ATTN" in reference
    assert "float16, cpu, CPU_ATTN, CPUWNA16LinearKernel" in made
    notes = json.dumps(document)
    assert "loads in vLLM 0.32.0: vllm serve FOLDER --dtype float16" in notes
    assert "vLLM's kernel for these weights on a CPU knows no other" in notes


def test_speed_as_served(measured: Documents) -> None:
    reference, made = rows(measured[TIMED])
    for row in (reference, made):
        assert row["pp"] > 0
        assert row["tg"] > 0
        assert 4 * 32 / row["pp"] == pytest.approx(row["ttft"], rel=0.5)
        assert row["peak_rss"] > 200 << 20
    assert made["tg_ratio"] > 0


def test_an_export_is_loaded(bench: Bench, engines: Path, tmp_path: Path) -> None:
    key = rows(bench.run(*WAYS[0]))[-1]["key"]
    out = ("--to", "vllm", "--out", str(tmp_path / "out"), "--json")
    answer = called("export", key, *out, cwd=bench.folder)
    assert answer.code == 0, answer.stderr
    (record,) = json.loads(answer.stdout)["vllm"]
    assert record["loaded"].startswith("0.32")
    assert record["command"].startswith(f"vllm serve {tmp_path / 'out'} --served-model-name ")
