"""An evaluation that is killed midway goes on from the windows it has, with the same result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qpipe.core.store import ArtifactStore
from tests.cli import qpipe
from tests.killing import files_below, killed_when

STORIES = Path(__file__).parent.parent / "data" / "models" / "stories260K"
TEXT = Path(__file__).parent.parent / "data" / "texts" / "tinystories_train_head_ascii.txt"
ASKED = (
    *("run", "local", f"model.source={STORIES}", "quantize.type=Q4_0", "quantize.via=source"),
    *("evaluate=kld", f"evaluate.text={TEXT}", "evaluate.n_ctx=128", "evaluate.chunks=200"),
    *("executor.cpus=1", "--json"),
)


def _kept(cwd: Path, groups: int) -> Path | None:
    """The folder of a measurement that has kept so many groups."""
    found = files_below(cwd / "outputs" / "store", "group-*.npz")
    return found[0].parent if len(found) >= groups else None


def _results(cwd: Path) -> dict[str, Any]:
    store = ArtifactStore(cwd / "outputs" / "store")
    found = [store.peek(key) for key in store.all_keys()]
    return {
        str(artifact.manifest.params["metric"]): artifact
        for artifact in found
        if artifact and artifact.manifest.stage == "evaluate"
    }


@pytest.mark.slow
def test_a_killed_evaluation_goes_on_from_what_it_has(tmp_path: Path) -> None:
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    broken.mkdir()
    whole.mkdir()
    kept = killed_when(lambda: _kept(broken, 5), *ASKED, cwd=broken)
    first = kept / "group-000000.npz"
    before = first.stat()
    again = qpipe(*ASKED, cwd=broken)
    assert again.code == 0, again
    assert not kept.exists(), "what was kept goes once the artifact is finished"
    assert before.st_size > 0
    assert qpipe(*ASKED, cwd=whole).code == 0
    for metric in ("logprobs", "kld"):
        ours, theirs = _results(broken)[metric], _results(whole)[metric]
        assert ours.manifest.digest == theirs.manifest.digest, metric
    nll = np.load(_results(broken)["logprobs"].path / "nll.npy")
    assert np.isfinite(nll).all()
