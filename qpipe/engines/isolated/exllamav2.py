"""exllamav2 0.3.2 in its own environment (`qpipe.environments.child_runtime`); CUDA alone.

Its converter is a script: it is run in this process with its own command line, given our token ids
in place of those that it would make of a parquet file. It keeps its work in a folder and goes on
from there. Source: exllamav2/conversion/convert_exl2.py, tokenize.py.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file

if TYPE_CHECKING:
    from qpipe.environments.child_runtime import ScriptWork

_STATE = "job_new.json"
_MEASUREMENT = "measurement.json"


def run(job: ScriptWork) -> dict[str, Any]:
    """Measure ``inputs["model"]``, or quantize it.

    Params: ``do`` (measure or quantize), ``bits``, ``head_bits``, ``samples`` (lists of token ids).
    ``inputs["measurement"]``, if there, is a folder with a measurement.json.
    """
    import exllamav2.conversion.bot_status as status
    import exllamav2.conversion.tokenize as tokenizing

    working = job.partial or job.out.with_name(job.out.name + "-work")
    working.mkdir(parents=True, exist_ok=True)
    _move(job, working)
    rows = _rows(job.params["samples"])

    def tokenize(state: Any, save: Any, tokenizer: Any, measure: bool = False, **_: Any) -> None:
        """Its own tokenize, but for where the tokens come from."""
        selection = rows[: min(len(rows), 16)] if measure else rows
        file = working / "cal_data.safetensors"
        save_file({"input_ids": selection}, str(file))
        state["measurement_rows" if measure else "dataset_rows"] = selection.shape[0]
        state["measurement_length" if measure else "length"] = selection.shape[1]
        state["cal_filename"] = str(file)

    def stage(state: Any, name: str, done: int, total: int) -> None:
        job.progress(done, total, name.lower())

    # exllamav2 0.3.2 takes no token ids, but tokenizes texts of a parquet file or its own.
    tokenizing.tokenize = tokenize
    status.print_stage = stage
    _convert(_arguments(job, working))
    if job.params["do"] == "measure" and not (job.out / _MEASUREMENT).is_file():
        raise job.error("CheckpointError", "exllamav2 ended without a measurement; see its log")
    if job.params["do"] == "quantize" and not list(job.out.glob("*.safetensors")):
        raise job.error("CheckpointError", "exllamav2 ended without a model; see its log")
    return {"tokens": rows.numel()}


def _arguments(job: ScriptWork, working: Path) -> list[str]:
    arguments = ["-i", str(job.inputs["model"]), "-o", str(working)]
    if job.params["do"] == "measure":
        return [*arguments, "-om", str(job.out / _MEASUREMENT)]
    arguments += ["-cf", str(job.out), "-b", str(job.params["bits"])]
    arguments += ["-hb", str(job.params["head_bits"])]
    if "measurement" in job.inputs:
        arguments += ["-m", str(job.inputs["measurement"] / _MEASUREMENT)]
    return arguments


def _move(job: ScriptWork, working: Path) -> None:
    """Let an unfinished attempt go on where input and output are this time."""
    file = working / _STATE
    if not file.is_file():
        return
    state = json.loads(file.read_text())
    # exllamav2 0.3.2 goes on with the paths of the attempt before, which lay elsewhere.
    state["in_dir"] = str(job.inputs["model"])
    if job.params["do"] == "measure":
        state["output_measurement"] = str(job.out / _MEASUREMENT)
    else:
        state["compile_full"] = str(job.out)
    temporary = file.with_suffix(".partial")
    temporary.write_text(json.dumps(state))
    temporary.replace(file)


def _rows(samples: list[list[int]]) -> torch.Tensor:
    """All samples of the usual length, which are all but the last: it wants a rectangle."""
    length = max(map(len, samples))
    # exllamav2 0.3.2 takes a rectangle of ids.
    return torch.tensor([ids for ids in samples if len(ids) == length], dtype=torch.long)


def _convert(arguments: list[str]) -> None:
    """Run the converter; its ``sys.exit()`` without a code means that it refused."""
    # exllamav2 0.3.2's converter is a script, without a function to call.
    sys.argv = ["convert_exl2", *arguments]
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    runpy.run_module("exllamav2.conversion.convert_exl2", run_name="__main__")
