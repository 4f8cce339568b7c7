"""What a whole command of qpipe takes beside one script that does the same in one process.

Download, calibration, tokens, GPTQ by llm-compressor, the perplexity before and after, and the
report; from an empty store each time.
"""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path
from statistics import median

from bench.engine_script import THREADS
from bench.measure import Bench, Row, call, spent
from bench.whole_script import LENGTH, SAMPLES, WIDTH, WINDOWS

_ROOT = Path(__file__).parents[1]
_DATA = _ROOT / "qpipe" / "data"
_MODEL = _DATA / "tinystories-d256"
_TEXTS = (
    _DATA / "texts" / "tinystories_lower_train.txt",
    _DATA / "texts" / "tinystories_lower_heldout.txt",
)


def rows(bench: Bench) -> list[Row]:
    """Wall and CPU seconds of both, medians of interleaved rounds after one that is not measured:
    what qpipe adds is one start of torch and of itself."""
    folder = bench.sub("whole")
    works = {"ours": partial(_ours, bench, folder), "theirs": partial(_theirs, bench, folder)}
    taken: dict[str, list[tuple[float, float]]] = {side: [] for side in works}
    for number in range(bench.rounds + 1):
        for side, work in works.items():
            cost = spent(work)
            if number:
                taken[side].append((cost.wall, cost.cpu))
    wall, cpu = ({side: median(c[at] for c in costs) for side, costs in taken.items()}
                 for at in (0, 1))  # fmt: skip
    peer = "one script, one process"
    return [
        Row("GPTQ and two perplexities, the whole command", wall["ours"], "s", peer, wall["theirs"],
            limit=2.0),
        Row("CPU of it", cpu["ours"], "s", peer, cpu["theirs"]),
    ]  # fmt: skip


def _ours(bench: Bench, folder: Path) -> None:
    _emptied(folder / "outputs")
    call(
        [bench.python, "-m", "qpipe", "run", "local", f"model.source={_MODEL}", "quantize=gptq",
         "quantize.engine=llmcompressor", "calibration=tinystories",
         f"calibration.samples={SAMPLES}", f"calibration.length={LENGTH}",
         f"evaluate.n_ctx={WIDTH}", f"evaluate.chunks={WINDOWS}"],
        cwd=folder, env=_env(),
    )  # fmt: skip


def _theirs(bench: Bench, folder: Path) -> None:
    _emptied(folder / "theirs")
    call(
        [bench.python, "-m", "bench.whole_script", _MODEL, *_TEXTS, folder / "theirs"],
        cwd=folder, env={**_env(), "OMP_NUM_THREADS": str(THREADS)},
    )  # fmt: skip


def _env() -> dict[str, str]:
    own = {"HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "passive", "PYTHONPATH": str(_ROOT)}
    return {**os.environ, **own}


def _emptied(folder: Path) -> None:
    """Artifacts are read-only."""
    for path in folder.rglob("*"):
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(folder, ignore_errors=True)
