"""exllamav2 0.3.2 in its own environment (`qpipe.environments.child_runtime`); CUDA alone.

Its converter is a script: it is run in this process with its own command line, given our token ids
in place of those that it would make of a parquet file. It keeps its work in a folder and goes on
from there. Source: exllamav2/conversion/convert_exl2.py, tokenize.py. Measuring is a forward pass a
window (exllamav2/model.py, ``forward``).
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file

if TYPE_CHECKING:
    from qpipe.environments.child_runtime import ScriptWork

_STATE = "job_new.json"
_MEASUREMENT = "measurement.json"
_EXTENSION = "exllamav2_ext"


def run(job: ScriptWork) -> dict[str, Any]:
    """Do with ``inputs["model"]`` what the parameter ``do`` says: nll, measure or quantize.

    The last two have ``samples`` (lists of token ids); quantize also ``bits``, ``head_bits`` and,
    if there, ``inputs["measurement"]``, a folder with a measurement.json.
    """
    _tell_of_compiling(job)
    return nll(job) if job.params["do"] == "nll" else convert(job)


def nll(job: ScriptWork) -> dict[str, Any]:
    """Write nll.npy: the negative log-likelihood of each token that is scored, in nats.

    ``inputs["tokens"]`` has tokens.npy [windows, width] and spans.npy [windows, 2], of
    `qpipe.evaluators.text.windows`.
    """
    import numpy as np
    from exllamav2 import ExLlamaV2, ExLlamaV2Config

    tokens, spans = (np.load(job.inputs["tokens"] / f"{name}.npy") for name in ("tokens", "spans"))
    windows, width = tokens.shape
    config = ExLlamaV2Config(str(job.inputs["model"]))
    trained = config.max_seq_len
    if not 0 <= tokens.min() <= tokens.max() < config.vocab_size:
        raise job.error(
            "DataError",
            f"the text was tokenized for another model: its token ids go from {tokens.min()} to "
            f"{tokens.max()}, and this model has a vocabulary of {config.vocab_size}",
        )
    # exllamav2 0.3.2 makes its buffers and its table of positions this long, and takes no more.
    config.max_seq_len = max(config.max_seq_len, width)
    config.max_input_len = max(config.max_input_len, width)
    config.max_attention_size = max(config.max_attention_size, width * width)
    model = ExLlamaV2(config)
    model.load()
    began, values = time.perf_counter(), []
    for number, (first, end) in enumerate(spans):
        row = torch.from_numpy(tokens[number]).long()
        # Its logits are of a vocabulary that is filled up to a multiple of 32.
        logits = model.forward(row[None])[0, first:end, : config.vocab_size].float()
        targets = row[first + 1 : end + 1].to(logits.device)
        values.append(torch.nn.functional.cross_entropy(logits, targets, reduction="none").cpu())
        job.progress((number + 1) * width, windows * width, "tokens")
    np.save(job.out / "nll.npy", torch.cat(values).double().numpy())
    speed = tokens.size / (time.perf_counter() - began)
    return {"n_ctx_train": trained, "tokens_per_second": speed}


def _tell_of_compiling(job: ScriptWork) -> None:
    """Say so where exllamav2 0.3.2 compiles its CUDA code, which its import does if need be."""
    folder = os.environ.get("TORCH_EXTENSIONS_DIR")  # else torch's own place, which is not asked
    if folder is not None and not list((Path(folder) / _EXTENSION).glob("*.so")):
        job.note("exllamav2 compiles its CUDA code, once: some minutes")


def convert(job: ScriptWork) -> dict[str, Any]:
    """Measure what each module loses, or quantize, by its converter."""
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
