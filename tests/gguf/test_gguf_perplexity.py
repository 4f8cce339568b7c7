"""What the K-quants cost in perplexity, against llama-perplexity's own figures.

The files' bytes are held against llama-quantize's by test_gguf_golden.py: here it is one of few
bits, and one with importances. `make soak` measures the others.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from qpipe.evaluators.perplexity import perplexity
from qpipe.evaluators.text.protocols import protocol
from qpipe.gguf.quantize import quantize
from tests.gguf import samples

LEVELS = ("Q6_K", "Q5_K_M", "Q4_K_M", "Q4_K_M+imatrix", "Q3_K_M", "Q2_K", "Q2_K+imatrix")
TELLING = ("Q4_K_M+imatrix", "Q2_K")
MODEL = "tinystories-d256"
TEXTS = samples.ROOT / "qpipe" / "data" / "texts"


@pytest.mark.parametrize(
    "level",
    [
        pytest.param(level, marks=pytest.mark.slow if level in TELLING else pytest.mark.soak)
        for level in LEVELS
    ],
)
def test_perplexity_is_the_golden_one(
    level: str, gguf_of: Callable[[str, str], Path], tmp_path: Path
) -> None:
    (row,) = (
        row
        for row in samples.table("perplexity.tsv")
        if (row["model"], row["format"], row["metric"]) == (MODEL, level, "ppl")
    )
    ftype, _, weighed = level.partition("+")
    out = tmp_path / "q.gguf"
    matrix = samples.imatrix_of(MODEL) if weighed else None
    quantize(gguf_of(MODEL, "F16"), out, ftype=ftype, imatrix=matrix)
    chosen = protocol("llamacpp-512").with_overrides(
        n_ctx=int(row["n_ctx"]), chunks=int(row["chunks"])
    )
    text = (TEXTS / row["text"]).read_text()
    found = perplexity(out, text, protocol=chosen, threads=2)
    assert found.value == pytest.approx(float(row["value"]), abs=0.002)
    assert found.stderr == pytest.approx(float(row["stderr"]), abs=0.0001)


def test_every_k_quant_in_the_table_is_measured() -> None:
    known = {row["format"] for row in samples.table("perplexity.tsv") if row["model"] == MODEL}
    assert {name for name in known if "_K" in name} == set(LEVELS)
