"""llama-perplexity's own figures, met by qpipe's files and qpipe's evaluation.

Those of Q8_0 and Q4_0 are met beside their KL divergences in test_kld_golden.py, K-quants' in
tests/gguf/test_gguf_perplexity.py.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from qpipe.errors import CheckpointError, DataError
from qpipe.evaluators.perplexity import measure, perplexity
from qpipe.evaluators.text.description import scores_of
from qpipe.evaluators.text.protocols import protocol
from qpipe.evaluators.text.token_scores import token_nll
from qpipe.evaluators.text.windows import cut, tokenize
from qpipe.llamacpp.backend import LlamaCppBackend

pytestmark = pytest.mark.slow

Gguf = Callable[[str, str], Path]
DATA = Path(__file__).parent.parent / "data"
TEXTS = (DATA / "texts", DATA.parent.parent / "qpipe" / "data" / "texts")
LEVELS = {("stories260K", "F32"), ("stories260K", "Q5_0"), ("tinystories-d256", "F16")}


def _golden() -> list[dict[str, str]]:
    with (DATA / "golden" / "perplexity.tsv").open() as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["metric"] == "ppl"]
    return [row for row in rows if (row["model"], row["format"]) in LEVELS]


def _text(name: str) -> str:
    return next(path / name for path in TEXTS if (path / name).exists()).read_text()


def test_the_golden_table_has_every_level() -> None:
    assert {(row["model"], row["format"]) for row in _golden()} == LEVELS


@pytest.mark.parametrize("row", _golden(), ids=lambda row: f"{row['model']}-{row['format']}")
def test_perplexity_equals_llama_perplexitys(row: dict[str, str], gguf_of: Gguf) -> None:
    n_ctx, chunks = int(row["n_ctx"]), int(row["chunks"])
    with LlamaCppBackend(gguf_of(row["model"], row["format"]), threads=2) as backend:
        chosen = protocol("llamacpp-512").with_overrides(n_ctx=n_ctx, chunks=chunks)
        tokenized = tokenize(_text(row["text"]), backend, chosen, name="")
        found = measure(backend, tokenized)
    score = scores_of(tokenized, found.nll)
    assert score.value == pytest.approx(float(row["value"]), abs=0.002)
    assert score.stderr == pytest.approx(float(row["stderr"]), abs=0.00005)
    assert len(found.nll) == chunks * (n_ctx - 1 - n_ctx // 2)
    assert math.log(score.value) == pytest.approx(found.nll.mean())


@pytest.mark.parametrize(("n_ctx", "most_chunks"), [(96, 22), (2048, 2)])
def test_windows_decoded_together_in_parts_or_alone_are_one(
    n_ctx: int, most_chunks: int, gguf_of: Gguf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """96 tokens: five windows a batch, then two, against each alone; 2048: one or four."""
    text = _text("tinystories_train_head_ascii.txt")[:20_000]
    found = []
    for room in (512 << 20, 1):
        monkeypatch.setattr("qpipe.llamacpp.lane._LOGITS_BYTES", room)
        with LlamaCppBackend(gguf_of("stories260K", "F32"), threads=2) as backend:
            chosen = protocol("llamacpp-512").with_overrides(n_ctx=n_ctx, chunks=most_chunks)
            windows = cut(text, backend, chosen)
            nll = [
                (window, start + row, value)
                for window, start, logits in backend.logits(windows.tokens, first=windows.first)
                for row, value in enumerate(
                    token_nll(logits, windows.tokens[window, start + 1 : start + 1 + len(logits)])
                )
            ]
        found.append(nll)
    together, alone = found
    assert [entry[:2] for entry in together] == [entry[:2] for entry in alone]
    assert [entry[:2] for entry in together] == [
        (window, at) for window in range(len(windows.tokens)) for at in range(n_ctx // 2, n_ctx - 1)
    ]
    apart = np.abs(np.array(together)[:, 2] - np.array(alone)[:, 2])
    assert apart.max() < 0.02


def test_a_nan_in_the_weights_is_found(gguf_of: Gguf, tmp_path: Path) -> None:
    good = gguf_of("stories260K", "F32").read_bytes()
    bad = tmp_path / "nan.gguf"
    # The last tensor of the file is the final norm: four bytes of it make every logit NaN.
    bad.write_bytes(good[:-4] + np.float32("nan").tobytes())
    with pytest.raises(DataError, match=r"512 NaN of 512 logits at position 256 of window 0"):
        perplexity(
            bad,
            _text("tinystories_train_head_ascii.txt"),
            protocol=protocol("llamacpp-512").with_overrides(chunks=1),
            threads=2,
        )


def test_refusals_reach_the_caller(gguf_of: Gguf, tmp_path: Path) -> None:
    plain = protocol("llamacpp-512")
    good = gguf_of("stories260K", "F32")
    with pytest.raises(DataError, match="empty"):
        perplexity(good, "", protocol=plain, threads=1)
    with pytest.raises(DataError, match=r"has \d+ tokens, and one window .* needs 512"):
        perplexity(good, "Once upon a time", protocol=plain, threads=1)
    with pytest.raises(DataError, match=r"cannot write '\\n'"):
        perplexity(gguf_of("stories-tok105", "F32"), "a\nb", protocol=plain, threads=1)
    (tmp_path / "bad.gguf").write_bytes(good.read_bytes()[:-99])
    with pytest.raises(CheckpointError, match="not within the file bounds"):
        perplexity(tmp_path / "bad.gguf", "text", protocol=plain, threads=1)
