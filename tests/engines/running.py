"""Real runs of the command line over one store, each way of quantizing once a session."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.cli import qpipe

MODEL = Path(__file__).parents[2] / "qpipe" / "data" / "tinystories-d256"

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
            cwd=self.folder, env={"HF_HUB_OFFLINE": "1"}, timeout=900,
        )  # fmt: skip
        assert answer.code == 0, answer.stderr[-3000:]
        found: dict[str, Any] = json.loads(answer.stdout)
        return found

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
