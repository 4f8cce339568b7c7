"""A quantization that is killed midway goes on from the layers it has, with the same result."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from qpipe.core.manifest import Manifest
from tests.cli import qpipe
from tests.engines.running import ASKED, Bench
from tests.killing import files_below, killed_when

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("engines")]
GPTQ = "quantize=gptq"
OFFLINE = {"HF_HUB_OFFLINE": "1"}
# Of the model; and the matrices of each layer.
LAYERS, MODULES = 4, 7


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was killed once GPTQModel had finished a layer."""
    folder = tmp_path_factory.mktemp("killed")
    killed_when(lambda: kept(folder), *ASKED, GPTQ, cwd=folder, env=OFFLINE, timeout=600)
    return folder


def kept(folder: Path) -> Path | None:
    """What is gone on from, if a layer is finished."""
    found = files_below(folder / "outputs" / "store" / "partial", "CURRENT")
    return found[0].parent if found else None


def layer_files(partial: Path) -> list[Path]:
    """The matrices that GPTQModel has published: it goes on from nothing else."""
    (newest, *_) = json.loads((partial / "CURRENT").read_bytes())["generations"]
    published = json.loads((partial / "objects" / newest).read_bytes())
    return [partial / "objects" / name for name in published["artifacts"].values()]


def test_gptqmodel_goes_on_from_the_layers_it_has(
    bench: Bench, killed: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(killed, tmp_path / "again", symlinks=True)
    partial = kept(folder)
    assert partial is not None
    finished = len(layer_files(partial)) // MODULES

    again, whole = (Manifest.load(b.artifact(GPTQ)) for b in (Bench(folder), bench))
    assert 1 <= finished < LAYERS
    assert again.facts["resumed_layers"] == finished
    assert not partial.exists(), "what was kept goes once the artifact is finished"
    assert whole.facts["resumed_layers"] == 0
    assert again.key == whole.key
    assert again.digest == whole.digest


def test_layers_that_got_damaged_are_not_gone_on_from(killed: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(killed, tmp_path / "damaged", symlinks=True)
    partial = kept(folder)
    assert partial is not None
    layer_files(partial)[0].write_bytes(b"")
    answer = qpipe(*ASKED, GPTQ, cwd=folder, env=OFFLINE, timeout=600)
    assert answer.code == 1
    assert "cannot go on from the layers that an earlier attempt finished" in answer.stderr
    assert "give the same command again" in answer.stderr
    assert not partial.exists()
