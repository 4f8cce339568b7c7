"""llama-perplexity --kl-divergence's own figures, met; and refusals."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from qpipe.errors import DataError
from qpipe.evaluators.logprobs import Logprobs, LogprobsParams
from qpipe.evaluators.text.reference import Reference
from qpipe.stages.base import Order
from tests.evaluators import measuring

pytestmark = pytest.mark.xdist_group("kld-golden")

Gguf = Callable[[str, str], Path]
DATA = Path(__file__).parent.parent / "data"
TEXTS = (DATA / "texts", DATA.parent.parent / "qpipe" / "data" / "texts")
LEVELS = {"stories260K": ("Q8_0", "Q4_0"), "tinystories-d256": ("Q8_0", "Q4_0")}
# (relative, absolute): the half-range of what is rounded in the table is far below.
TOLERANCES = {
    "ppl": (0, 0.002),
    "kld_mean": (0.02, 0),
    "kld_median": (0.02, 0),
    "kld_max": (0.05, 0),
    "same_top_pct": (0, 0.2),
    "rms_dp_pct": (0.02, 0),
}


def _golden() -> list[dict[str, str]]:
    with (DATA / "golden" / "perplexity.tsv").open() as file:
        return list(csv.DictReader(file, delimiter="\t"))


def _text(name: str) -> str:
    return next(path / name for path in TEXTS if (path / name).exists()).read_text()


@pytest.mark.slow
@pytest.mark.parametrize("model", LEVELS)
def test_every_figure_of_a_level_is_met(model: str, gguf_of: Gguf, tmp_path: Path) -> None:
    rows = [row for row in _golden() if row["model"] == model]
    first = rows[0]
    stored = measuring.reference(
        gguf_of(model, first["reference"]),
        _text(first["text"]),
        tmp_path / "reference",
        n_ctx=int(first["n_ctx"]),
        chunks=int(first["chunks"]),
    )
    met = 0
    for level in LEVELS[model]:
        found = measuring.against(stored, gguf_of(model, level))
        for row in rows:
            if row["format"] != level:
                continue
            name = {"kld_mean": "kld"}.get(row["metric"], row["metric"])
            relative, absolute = TOLERANCES[row["metric"]]
            value = float(row["value"])
            assert found[name] == pytest.approx(value, rel=relative, abs=absolute), (level, name)
            met += 1
            if row["stderr"] and row["metric"] != "ppl":
                error = found[f"{name}_stderr"]
                assert error == pytest.approx(float(row["stderr"]), rel=0.03, abs=0.0006)
    assert met == {"stories260K": 12, "tinystories-d256": 6}[model]


@pytest.fixture(scope="module")
def small(gguf_of: Gguf, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    return measuring.stories(gguf_of, tmp_path_factory.mktemp("small") / "reference", chunks=40)


def test_the_reference_is_hardly_any_way_from_itself(small: Reference, gguf_of: Gguf) -> None:
    found = measuring.against(small, gguf_of("stories260K", "F32"))
    assert abs(found["kld"]) < 1e-6
    assert found["same_top_pct"] > 99.9
    assert abs(found["ppl_delta"]) < 1e-4


def test_stored_log_probabilities_have_the_size_that_is_forecast(small: Reference) -> None:
    scored = small.tokenized.windows.scored
    assert scored == 40 * 31
    size = (small.folder / "distributions.bin").stat().st_size
    assert size == scored * (2 * 512 + 8)


def test_a_reference_of_another_vocabulary_is_refused(small: Reference, gguf_of: Gguf) -> None:
    with pytest.raises(DataError, match=r"has 512 logits a token and this model has 105"):
        small.require_same(n_vocab=105, model="this model")
    with pytest.raises(DataError, match="tokenized for another model: its token ids go from"):
        measuring.against(small, gguf_of("stories-tok105", "F32"))


def test_a_reference_on_other_tokens_is_refused(
    small: Reference, gguf_of: Gguf, tmp_path: Path
) -> None:
    other = measuring.stories(gguf_of, tmp_path / "reference", chunks=2)
    mixed = Reference(other.folder, small.tokenized)
    with pytest.raises(DataError, match="another tokenizer, text or protocol"):
        mixed.require_same(n_vocab=512, model="this model")


def test_the_stored_likelihoods_are_the_references(small: Reference) -> None:
    rows = small.rows(3)
    targets = small.tokenized.windows.targets(3)
    stored = rows["codes"][np.arange(31), targets] * rows["scale"] + rows["low"]
    assert np.abs(-stored - small.nll[3 * 31 : 4 * 31]).max() < 1.3e-4


@pytest.mark.parametrize("checkpoint", [False, True])
def test_what_they_take_on_disk_is_forecast_from_headers(
    small: Reference, gguf_of: Gguf, tmp_path: Path, checkpoint: bool
) -> None:
    small.tokenized.save(tmp_path)
    model = DATA / "models" / "stories260K"
    if not checkpoint:
        model = tmp_path / "model"
        model.mkdir()
        (model / "model.gguf").symlink_to(gguf_of("stories260K", "F32"))
    found = Logprobs.preview(LogprobsParams(), Order({"model": model, "tokens": tmp_path}))
    written = (small.folder / "distributions.bin").stat().st_size
    assert found is not None
    assert not found.at_most
    assert found.facts["size_bytes"] == written
