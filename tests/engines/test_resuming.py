"""A quantization that is killed midway goes on from the layers it has, with the same result."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from qpipe.core.manifest import Manifest
from tests.cli import qpipe
from tests.engines.running import ASKED, MADE, OFFLINE, Bench
from tests.engines.ways import LEARN
from tests.killing import files_below, killed_when

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("engines")]
# Of the model; and the matrices of each layer.
LAYERS, MODULES = 4, 7


@dataclass(frozen=True)
class Engine:
    """How to ask for it; the file that it leaves once a layer is finished; and the files of all
    finished layers, ``parts`` of each: it goes on from nothing else."""

    name: str
    how: tuple[str, ...]
    leaves: str
    parts: int
    layer_files: Callable[[Path], list[Path]]

    def kept(self, folder: Path) -> Path | None:
        """What is gone on from, if a layer is finished."""
        found = files_below(folder / "outputs" / "store" / "partial", self.leaves)
        return found[0].parent if found else None


def of_gptqmodel(partial: Path) -> list[Path]:
    (newest, *_) = json.loads((partial / "CURRENT").read_bytes())["generations"]
    published = json.loads((partial / "objects" / newest).read_bytes())
    return [partial / "objects" / name for name in published["artifacts"].values()]


def of_autoround(partial: Path) -> list[Path]:
    import torch

    names = torch.load(partial / "layers.pt")["shards"]
    return [path for path in sorted(partial.rglob("*.safetensors")) if path.name in names]


ENGINES = [
    Engine("GPTQModel", ("quantize=gptq",), "CURRENT", MODULES, of_gptqmodel),
    Engine("AutoRound", LEARN, "layers.pt", 1, of_autoround),
]


@pytest.fixture(scope="module", params=ENGINES, ids=lambda engine: engine.name)
def engine(request: pytest.FixtureRequest) -> Engine:
    found: Engine = request.param
    return found


@pytest.fixture(scope="module")
def killed(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was killed once the engine had finished a layer."""
    folder = tmp_path_factory.mktemp("killed")
    asked = (*ASKED, *MADE, *engine.how)
    killed_when(lambda: engine.kept(folder), *asked, cwd=folder, env=OFFLINE, timeout=600)
    return folder


def test_it_goes_on_from_the_layers_it_has(
    engine: Engine, bench: Bench, killed: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(killed, tmp_path / "again", symlinks=True)
    partial = engine.kept(folder)
    assert partial is not None
    finished = len(engine.layer_files(partial)) // engine.parts

    again, whole = (Manifest.load(b.artifact(*engine.how)) for b in (Bench(folder), bench))
    assert 1 <= finished < LAYERS
    assert again.facts["resumed_layers"] == finished
    assert not partial.exists(), "what was kept goes once the artifact is finished"
    assert whole.facts["resumed_layers"] == 0
    assert again.key == whole.key
    assert again.digest == whole.digest


def test_layers_that_got_damaged_are_not_gone_on_from(
    engine: Engine, killed: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(killed, tmp_path / "damaged", symlinks=True)
    partial = engine.kept(folder)
    assert partial is not None
    engine.layer_files(partial)[0].write_bytes(b"")
    answer = qpipe(*ASKED, *MADE, *engine.how, cwd=folder, env=OFFLINE, timeout=600)
    assert answer.code == 1
    told = f"{engine.name} cannot go on from the layers that an earlier attempt finished"
    assert told in answer.stderr
    assert "give the same command again" in answer.stderr
    assert not partial.exists()
