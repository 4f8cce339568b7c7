"""Real runs of the command line over one store, each way of quantizing once a session.

An engine makes its model in a worker of its own, as it does for users: one of each method. The
other ways are taken, and all are measured, by runs in one process, because most of a small run is
the import of torch and the engines.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from tests.cli import environment, qpipe
from tests.engines import ways

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "qpipe" / "data" / "tinystories-d256"
OFFLINE = {"HF_HUB_OFFLINE": "1"}
# GPTQModel 7.6.0 compiles the unpacking of each shape of matrix, which takes ten times as long as
# these few windows; test_gptqmodel_table measures with what it compiles.
EAGER = {"TORCHDYNAMO_DISABLE": "1"}

ASKED = (
    "run",
    "local",
    "model.source=builtin:tinystories-d256",
    "calibration.samples=8",
    "calibration.length=64",
)
# Enough to tell a broken model from a quantized one; the same windows for all.
MEASURED = ("evaluate.n_ctx=256", "evaluate.chunks=16")
MADE = ("evaluate=none",)


def rows(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a run, all of which must have succeeded."""
    found: list[dict[str, Any]] = document["rows"]
    assert [row["status"] in ("ran", "cached") for row in found] == [True] * len(found)
    return found


def wishing(model: Path, to: Path) -> str:
    """The override for a copy of a model whose config.json asks for a package that is not here."""
    folder = Path(shutil.copytree(model, to, dirs_exist_ok=True))
    (folder / "manifest.json").unlink(missing_ok=True)
    config = json.loads((folder / "config.json").read_text())
    wish = {"_attn_implementation": "flash_attention_2"}
    (folder / "config.json").write_text(json.dumps(config | wish))
    return f"model.source={folder}"


@dataclass(frozen=True)
class Bench:
    """A folder whose store all runs share."""

    folder: Path

    @cache  # noqa: B019  as long as the session
    def run(self, *overrides: str) -> dict[str, Any]:
        """The document of a run that must succeed; nothing is measured."""
        answer = qpipe(
            *ASKED, *MADE, *overrides, "--json",
            cwd=self.folder, env=self._environment(*overrides), timeout=900,
        )  # fmt: skip
        assert answer.code == 0, answer.stderr[-3000:]
        found: dict[str, Any] = json.loads(answer.stdout)
        return found

    def several(self, *runs: Iterable[str]) -> list[dict[str, Any]]:
        """The documents of runs, which must succeed, in one process that is new."""
        asked = [[*ASKED, *overrides] for overrides in runs]
        (self.folder / "runs.json").write_text(json.dumps(asked))
        done = subprocess.run(
            [sys.executable, "-m", "tests.engines.several", str(self.folder)],
            cwd=self.folder, env=environment({**OFFLINE, **EAGER}), capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        answers = json.loads((self.folder / "answers.json").read_bytes())
        wrong = [(run, a) for run, a in zip(asked, answers, strict=True) if a["code"] != 0]
        assert not wrong, f"{wrong}\n{done.stderr[-3000:]}"
        return [answer["document"] for answer in answers]

    @cache  # noqa: B019  as long as the session
    def _measured(self) -> dict[tuple[str, ...], dict[str, Any]] | AssertionError:
        """Runs that measure, by the way, all in one process; or why they failed, which is found out
        once."""
        try:
            for way in ways.MADE_BY_WORKERS:
                self.document(*way)
            packed = self.artifact(*ways.GPTQ_RULED)
            given = dict.fromkeys(ways.WISHED, wishing(MODEL, self.folder / "wishing"))
            given[ways.WISHED_PACKED] = wishing(packed, self.folder / "packed")
            asked = (*ways.WISHED, *ways.MEASURED, ways.WISHED_PACKED)
            documents = self.several(
                *((*MEASURED, given[way], *way[1:]) if way in given else (*MEASURED, *way)
                  for way in asked)
            )  # fmt: skip
        except AssertionError as error:
            return error
        return dict(zip(asked, documents, strict=True))

    def _environment(self, *overrides: str) -> dict[str, str]:
        loaded = self._loaded(*overrides)
        loaded.mkdir(parents=True, exist_ok=True)
        paths = os.pathsep.join(map(str, (ROOT, Path(__file__).with_name("loaded"))))
        return {**OFFLINE, "PYTHONPATH": paths, "TEST_LOADED": str(loaded)}

    def _loaded(self, *overrides: str) -> Path:
        digest = hashlib.sha256("\0".join(overrides).encode()).hexdigest()[:16]
        return self.folder / "loaded" / digest

    def distributions(self, *way: str) -> set[str]:
        """Those of which the engine's process imported something."""
        key = self.manifest(*way)["key"]
        (told,) = (self.folder / "loaded").glob(f"*/quantize*-{key[:8]}.json")
        of = metadata.packages_distributions()
        return {name for module in json.loads(told.read_text()) for name in of.get(module, ())}

    def rows(self, *way: str) -> list[dict[str, Any]]:
        """The reference's row and the quantized model's, measured: a way of ways.MEASURED, or of
        those that wish."""
        return rows(self._figures()[way])

    def _figures(self) -> dict[tuple[str, ...], dict[str, Any]]:
        measured = self._measured()
        if isinstance(measured, AssertionError):
            raise measured
        return measured

    def document(self, *way: str) -> dict[str, Any]:
        """The document of the run that made the model: by a worker of its own, but for what only
        the measuring process makes."""
        if way in ways.SWEPT.values():
            return self.run("-m", f"quantize={','.join(ways.SWEPT)}")
        if way in ways.MADE_BY_WORKERS or way not in ways.MEASURED:
            return self.run(*way)
        return self._figures()[way]

    def artifact(self, *way: str) -> Path:
        """The folder of the quantized model."""
        method = way[0].removeprefix("quantize=")
        (made,) = (
            node for node in self.document(*way)["nodes"]
            if node["stage"] == "quantize" and node["params"].get("method") == method
        )  # fmt: skip
        assert made["status"] in ("ran", "cached"), made
        return Path(made["artifact"])

    def manifest(self, *overrides: str) -> dict[str, Any]:
        """What the store knows of it."""
        return manifest(self.artifact(*overrides))


def manifest(artifact: Path) -> dict[str, Any]:
    """What the store knows of an artifact."""
    found: dict[str, Any] = json.loads((artifact / "manifest.json").read_text())
    return found
