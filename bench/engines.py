"""What qpipe adds to engines' own scripts: seconds, memory, and bytes on disk, for the same job.

The checkpoint and the calibration tokens are there on both sides; what is measured is one command,
from its start to the finished artifact.
"""

from __future__ import annotations

import json
import os
import shutil
from functools import partial
from pathlib import Path
from statistics import median

from bench.engine_script import SCRIPTS, THREADS
from bench.measure import Bench, Row, Spent, call, spent

_ROOT = Path(__file__).parents[1]
_MODEL = _ROOT / "qpipe" / "data" / "tinystories-d256"
_HOW = {
    "gptqmodel": ("quantize=gptq",),
    "llmcompressor": ("quantize=gptq", "quantize.engine=llmcompressor"),
    "bitsandbytes": ("quantize=bnb",),
}
_OFFLINE = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
# As qpipe starts its workers (`qpipe.executors.local`). Without it threads that wait for each other
# spin, which on a shared machine takes more than the work.
_THREADS = {"OMP_NUM_THREADS": str(THREADS), "OMP_WAIT_POLICY": "passive"}


def rows(bench: Bench) -> list[Row]:
    """Added CPU seconds (at most 2, or 3 %), wall time, memory and written bytes as ratios."""
    found = []
    for name in SCRIPTS:
        found += _Engine(bench, name).rows()
    return found


class _Engine:
    """One engine's job, either way."""

    def __init__(self, bench: Bench, name: str) -> None:
        self.bench, self.name = bench, name
        self.folder = bench.sub(f"engines-{name}")
        self.peak = {"ours": 0, "theirs": 0}
        self.calibration = self._calibrated()

    def rows(self) -> list[Row]:
        """Medians of interleaved rounds, after one of each that is not measured."""
        works = {"ours": self._ours, "theirs": self._theirs}
        taken: dict[str, list[tuple[float, float, int]]] = {side: [] for side in works}
        for number in range(self.bench.rounds + 1):
            for side, work in works.items():
                cost = spent(partial(work, number))
                if number:
                    taken[side].append((cost.cpu, cost.wall, cost.written))
        middle = {
            side: Spent(*map(median, zip(*costs, strict=True))) for side, costs in taken.items()
        }
        ours, theirs = middle["ours"], middle["theirs"]
        peer = f"{self.name}'s own script"
        return [
            Row(f"CPU added to {peer} of {theirs.cpu:.1f} s", ours.cpu - theirs.cpu, "s",
                limit=round(max(2.0, 0.03 * theirs.cpu), 2)),
            Row(f"wall time, {self.name}", ours.wall, "s", peer, theirs.wall),
            Row(f"memory, {self.name}", self.peak["ours"] / 2**20, "MiB", peer,
                self.peak["theirs"] / 2**20, limit=1.1),
            Row(f"written, {self.name}", ours.written / 2**20, "MiB", peer,
                theirs.written / 2**20, limit=1.5),
        ]  # fmt: skip

    def _qpipe(self, *overrides: str) -> dict[str, object]:
        out = call(
            [self.bench.qpipe, "run", "local", f"model.source={_MODEL}", "evaluate=none",
             *_HOW[self.name], "calibration.samples=16", "calibration.length=128", *overrides,
             "--json"],
            cwd=self.folder, env=self._env(),
        )  # fmt: skip
        found: dict[str, object] = json.loads(out)
        return found

    def _env(self) -> dict[str, str]:
        return {**os.environ, **_OFFLINE}

    def _calibrated(self) -> Path:
        """Tokens for both, and a store in which nothing but the quantized model is missing."""
        tokens = self.folder / "calibration.json"
        call(
            [self.bench.qpipe, "run", "local", f"model.source={_MODEL}", "evaluate=none",
             "quantize=gptq", "calibration.samples=16", "calibration.length=128", "--json"],
            cwd=self.folder, env=self._env(),
        )  # fmt: skip
        (made,) = (self.folder / "outputs" / "store").rglob("calibration.json")
        shutil.copyfile(made, tokens)
        return tokens

    def _ours(self, number: int) -> None:
        for manifest in self._quantized():
            manifest.parent.chmod(0o755)
            shutil.rmtree(manifest.parent)
        document = self._qpipe()
        assert document["status"] == "done", document
        (manifest,) = self._quantized()
        self.peak["ours"] = max(
            self.peak["ours"], json.loads(manifest.read_text())["usage"]["peak_rss"]
        )

    def _quantized(self) -> list[Path]:
        """The manifests of quantized models in the store."""
        manifests = (self.folder / "outputs" / "store" / "artifacts").rglob("manifest.json")
        return [path for path in manifests if json.loads(path.read_text())["stage"] == "quantize"]

    def _theirs(self, number: int) -> None:
        out = self.folder / f"theirs-{number}"
        printed = call(
            [self.bench.python, "-m", "bench.engine_script", self.name, _MODEL,
             self.calibration, out],
            cwd=self.folder, env={**self._env(), **_THREADS, "PYTHONPATH": str(_ROOT)},
        )  # fmt: skip
        self.peak["theirs"] = max(self.peak["theirs"], int(printed.split()[-1]))
