"""Real runs of the command line over one store, each way of quantizing once a session."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from tests.cli import qpipe

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "qpipe" / "data" / "tinystories-d256"

# Enough to tell a broken model from a quantized one; the same windows for all.
ASKED = (
    "run",
    "local",
    "model.source=builtin:tinystories-d256",
    "evaluate.n_ctx=256",
    "evaluate.chunks=40",
    "calibration.samples=8",
    "calibration.length=64",
)


@dataclass(frozen=True)
class Bench:
    """A folder whose store all runs share."""

    folder: Path

    @cache  # noqa: B019  as long as the session
    def run(self, *overrides: str) -> dict[str, Any]:
        """The document of a run that must succeed."""
        answer = qpipe(
            *ASKED, *overrides, "--json",
            cwd=self.folder, env=self._environment(*overrides), timeout=900,
        )  # fmt: skip
        assert answer.code == 0, answer.stderr[-3000:]
        found: dict[str, Any] = json.loads(answer.stdout)
        return found

    def _environment(self, *overrides: str) -> dict[str, str]:
        loaded = self._loaded(*overrides)
        loaded.mkdir(parents=True, exist_ok=True)
        paths = os.pathsep.join(map(str, (ROOT, Path(__file__).with_name("loaded"))))
        return {"HF_HUB_OFFLINE": "1", "PYTHONPATH": paths, "TEST_LOADED": str(loaded)}

    def _loaded(self, *overrides: str) -> Path:
        digest = hashlib.sha256("\0".join(overrides).encode()).hexdigest()[:16]
        return self.folder / "loaded" / digest

    def distributions(self, *overrides: str) -> set[str]:
        """Those of which the engine's process imported something."""
        self.run(*overrides)
        (told,) = self._loaded(*overrides).glob("quantize-*.json")
        of = metadata.packages_distributions()
        return {name for module in json.loads(told.read_text()) for name in of.get(module, ())}

    def rows(self, *overrides: str) -> list[dict[str, Any]]:
        """The reference's row and the quantized model's."""
        found: list[dict[str, Any]] = self.run(*overrides)["rows"]
        assert [row["status"] in ("ran", "cached") for row in found] == [True] * len(found)
        return found

    def artifact(self, *overrides: str) -> Path:
        """The folder of the quantized model."""
        return Path(self.rows(*overrides)[-1]["artifact"])

    def manifest(self, *overrides: str) -> dict[str, Any]:
        """What the store knows of it."""
        found: dict[str, Any] = json.loads(
            (self.artifact(*overrides) / "manifest.json").read_text()
        )
        return found
