"""Before a long quantization, the same on the first layer alone: quantized, saved, reloaded.

What fails so costs seconds and not hours. Small models are their own preflight.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from qpipe.calibration.text.samples import CALIBRATION_FILE, token_ids
from qpipe.engines.common.checkpoint_files import bring_along, quantizable
from qpipe.errors import QpipeError, StageError, from_record
from qpipe.machine import program
from qpipe.stages import base
from qpipe.stages.device import computes_on
from qpipe.stages.registry import entry

# Checkpoints of fewer bytes, or with fewer layers, are quantized without one.
LEAST_BYTES = 1 << 30
LEAST_LAYERS = 4

_SAMPLES, _LENGTH = 8, 128


def is_needed(source: Path) -> bool:
    """True if quantizing takes long enough for a preflight. Raises CheckpointError."""
    from qpipe.packed import first_layer

    size = sum(path.stat().st_size for path in source.glob("*.safetensors"))
    return size >= LEAST_BYTES and first_layer.count(source) >= LEAST_LAYERS


def run(stage: type[base.Stage], params: Any, work: base.Work) -> None:
    """Quantize the first layer in processes of their own. Raises what that raises, and says so."""
    folder = work.out / ".preflight"
    on = computes_on(params)
    folder.mkdir()
    try:
        _quantize(stage, params, work, folder)
        if any((folder / "out").glob("*.safetensors")):
            program.run(
                [sys.executable, "-m", "qpipe.packed.first_layer", folder / "out", on],
                name="loading the quantized first layer",
            )
    except QpipeError as error:
        raise type(error)(f"preflight, on the first layer alone: {error}") from None
    finally:
        shutil.rmtree(folder)


def _quantize(stage: type[base.Stage], params: Any, work: base.Work, folder: Path) -> None:
    for name in ("model", "calibration", "out"):
        (folder / name).mkdir()
    inputs = {"model": str(_model(work.inputs["model"], folder / "model"))}
    if "calibration" in work.inputs:
        short = [sample[:_LENGTH] for sample in token_ids(work.inputs["calibration"])[:_SAMPLES]]
        text = json.dumps({"samples": short})
        (folder / "calibration" / CALIBRATION_FILE).write_text(text)
        inputs["calibration"] = str(folder / "calibration")
    job = {
        "name": "preflight",
        "entry": entry(stage),
        "params": _params(params, folder / "model"),
        "key": work.key,
        "inputs": inputs,
        "origins": dict(work.origins),
        "out": str(folder / "out"),
        "partial": str(folder / "partial"),
        "where": {},
        "threads": work.threads,
        "parent": os.getpid(),
        "hashes": None,
    }
    (folder / "job.json").write_text(json.dumps(job))
    try:
        program.run([sys.executable, "-m", "qpipe.worker", folder], name="the engine")
    except StageError as error:
        record = _result(folder).get("error")
        raise (from_record(record) if record else error) from None


def _model(source: Path, out: Path) -> Path:
    from qpipe.packed import first_layer

    first_layer.extract(source, out)
    bring_along(source, out)
    return out


def _params(params: Any, model: Path) -> dict[str, Any]:
    """Without the rules that only other layers have modules for."""
    fields: dict[str, Any] = params.model_dump(mode="json")
    names = quantizable(model, output=getattr(params, "lm_head", False))
    fields["modules"] = [
        rule for rule in fields["modules"] if any(re.search(rule[0], name) for name in names)
    ]
    return fields


def _result(folder: Path) -> dict[str, Any]:
    path = folder / "result.json"
    result: dict[str, Any] = json.loads(path.read_bytes()) if path.exists() else {}
    return result
