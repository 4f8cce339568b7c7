"""A quantization that is killed midway goes on from the layers it has, with the same result.

GPTQModel's is of a model published in FP8 alone: what it goes on with is dequantized once more, and
comes to what bfloat16 gives.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from qpipe.core.manifest import Manifest
from tests.cli import qpipe
from tests.engines.running import ASKED, MADE, OFFLINE, Bench, rows
from tests.engines.ways import LEARN
from tests.killing import files_below, killed_when

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("engines")]
# Of the model; and the matrices of each layer.
LAYERS, MODULES = 4, 7


@dataclass(frozen=True)
class Engine:
    """How to ask for it, and whether of the model in FP8; the file that it leaves once a layer is
    finished; and the files of all finished layers, ``parts`` of each: it goes on from nothing
    else."""

    name: str
    how: tuple[str, ...]
    fp8: bool
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
    Engine("GPTQModel", ("quantize=gptq",), True, "CURRENT", MODULES, of_gptqmodel),
    Engine("AutoRound", LEARN, False, "layers.pt", 1, of_autoround),
]


@pytest.fixture(scope="module", params=ENGINES, ids=lambda engine: engine.name)
def engine(request: pytest.FixtureRequest) -> Engine:
    found: Engine = request.param
    return found


@pytest.fixture(scope="module")
def asked(engine: Engine, of_fp8: Path) -> tuple[str, ...]:
    return (*ASKED, *MADE, *engine.how, *([f"model.source={of_fp8}"] if engine.fp8 else []))


@pytest.fixture(scope="module")
def killed(
    engine: Engine, asked: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a run that was killed once the engine had finished a layer."""
    folder = tmp_path_factory.mktemp("killed")
    killed_when(lambda: engine.kept(folder), *asked, cwd=folder, env=OFFLINE, timeout=600)
    return folder


@pytest.fixture(scope="module")
def whole(engine: Engine, bench: Bench, from_fp8: Path) -> Manifest:
    """What it makes of the model in bfloat16 without a break."""
    if not engine.fp8:
        return Manifest.load(bench.artifact(*engine.how))
    (document,) = bench.several((*MADE, *engine.how, f"model.source={from_fp8}"))
    return Manifest.load(Path(rows(document)[-1]["artifact"]))


def test_it_goes_on_from_the_layers_it_has(
    engine: Engine, asked: tuple[str, ...], killed: Path, whole: Manifest, tmp_path: Path
) -> None:
    folder = shutil.copytree(killed, tmp_path / "again", symlinks=True)
    partial = engine.kept(folder)
    assert partial is not None
    finished = len(engine.layer_files(partial)) // engine.parts

    answer = qpipe(*asked, "--json", cwd=folder, env=OFFLINE, timeout=600)
    assert answer.code == 0, answer.stderr[-3000:]
    row = rows(json.loads(answer.stdout))[-1]
    again = Manifest.load(Path(row["artifact"]))
    assert 1 <= finished < LAYERS
    assert again.facts["resumed_layers"] == finished
    assert not partial.exists(), "what was kept goes once the artifact is finished"
    assert whole.facts["resumed_layers"] == 0
    assert (again.key == whole.key) is not engine.fp8
    assert weights(again) == weights(whole)
    if engine.fp8:
        assert "quantized already (fp8, 8 bits), and dequantized" in str(row["notes"])
    else:
        assert again.digest == whole.digest


def weights(made: Manifest) -> dict[str, Any]:
    """The digests of all files but the card, which names the source."""
    return {file.path: file.sha256 for file in made.files if file.path != "README.md"}


def test_layers_that_got_damaged_are_not_gone_on_from(
    engine: Engine, asked: tuple[str, ...], killed: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(killed, tmp_path / "damaged", symlinks=True)
    partial = engine.kept(folder)
    assert partial is not None
    engine.layer_files(partial)[0].write_bytes(b"")
    answer = qpipe(*asked, cwd=folder, env=OFFLINE, timeout=600)
    assert answer.code == 1
    told = f"{engine.name} cannot go on from the layers that an earlier attempt finished"
    assert told in answer.stderr
    assert "give the same command again" in answer.stderr
    assert not partial.exists()
