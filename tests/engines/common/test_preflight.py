"""The first layer goes first: what fails does so before the long job, and says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qpipe.calibration.text.samples import CALIBRATION_FILE
from qpipe.engines.common import preflight
from qpipe.engines.torchao import Torchao, TorchaoParams
from qpipe.errors import StageError
from qpipe.stages.base import Work
from tests.engines.common.toy_engine import Tells, TellsParams

MODEL = Path(__file__).parents[3] / "qpipe" / "data" / "tinystories-d256"


def work(tmp_path: Path) -> Work:
    (tmp_path / "out").mkdir()
    (tmp_path / "calibration").mkdir()
    text = json.dumps({"samples": [[1, 2, 3] * 100] * 20})
    (tmp_path / "calibration" / CALIBRATION_FILE).write_text(text)
    inputs = {"model": MODEL, "calibration": tmp_path / "calibration"}
    return Work(inputs, tmp_path / "out", 1, lambda done, total, unit: None, {}, key="k")


def test_only_long_jobs_have_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not preflight.is_needed(MODEL)
    monkeypatch.setattr(preflight, "LEAST_BYTES", 1 << 20)
    assert preflight.is_needed(MODEL)
    monkeypatch.setattr(preflight, "LEAST_LAYERS", 5)
    assert not preflight.is_needed(MODEL)


def test_the_engine_gets_one_layer_and_few_samples(tmp_path: Path) -> None:
    asked = work(tmp_path)
    rules: Any = {"layers.0.*q_proj": 8, "layers.3.*q_proj": "skip"}
    with pytest.raises(StageError) as caught:
        preflight.run(Tells, TellsParams(modules=rules), asked)
    said = str(caught.value)
    assert said.startswith("preflight, on the first layer alone: ")
    told = json.loads(said[said.index("{") :])
    assert told == {"layers": 1, "samples": 8, "tokens": 1024, "rules": ["layers.0.*q_proj"]}
    assert list(asked.out.iterdir()) == []


@pytest.mark.slow
def test_what_works_leaves_nothing_behind(tmp_path: Path) -> None:
    asked = work(tmp_path)
    rules: Any = {"layers.0.*down_proj": "skip", "layers.3.*q_proj": "skip"}
    preflight.run(Torchao, TorchaoParams(modules=rules), asked)
    assert list(asked.out.iterdir()) == []
