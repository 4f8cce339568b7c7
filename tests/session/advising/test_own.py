"""Own runs in the store count first, of the very same model alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import qpipe
from qpipe.advice.evidence import chosen, signature
from qpipe.session.advising.function import advise
from qpipe.session.advising.own import own_figures

STORIES = Path(__file__).parents[3] / "qpipe" / "data" / "stories260K"


@pytest.mark.slow
def test_a_run_of_the_same_model_is_evidence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(STORIES, tmp_path / "model")
    settings = ("model.source=model", "evaluate=kld", "evaluate.chunks=2", "evaluate.n_ctx=64")
    session = qpipe.load("local", *settings, "quantize.type=Q8_0,Q4_0", sweep=True)
    rows = session.run().rows
    measured = {row.format: row.scores["kld"].value for row in rows if not row.reference}

    store = Path("outputs/store")
    known = own_figures("model", store).quality
    for name, value in measured.items():
        figure = chosen(
            known[signature({"method": "gguf", "type": name})],
            model="model",
            weights=260_032,
            calibrated=False,
        )
        assert figure is not None and figure.value == pytest.approx(value)
        assert (figure.transfer, figure.origin) == ("same model", "run")

    answer = advise("model", ram="8GB", store=store)
    shown = {row.candidate.format: row.quality for row in answer.rows}
    own = shown["Q8_0"]
    assert own is not None and own.origin == "run" and own.metric == "kld"
    assert shown["Q6_K"] is None, "nothing else was measured, and toys say nothing of others"

    config = tmp_path / "model" / "config.json"
    config.write_text(config.read_text().replace("0.02", "0.03") + "\n")
    assert own_figures("model", store).quality == {}, "another model, under the same name"
