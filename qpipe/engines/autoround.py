"""AutoRound: learned rounding, for the runtimes of GPTQ, AWQ, vLLM and llama.cpp."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import model_validator

from qpipe.core.key import Json
from qpipe.engines._autoround_layers import resuming
from qpipe.errors import CheckpointError
from qpipe.stages import base
from qpipe.stages.checkpoint import Asked, CheckpointEngine, Task
from qpipe.stages.methods import AutoRoundParams
from qpipe.stages.quantize import GGUF_FILE, EngineParams, file_facts


class AutoroundParams(AutoRoundParams):
    """A GGUF file's type says bits and groups."""

    RULES = ("bits", "group_size", "skip")

    engine: Literal["auto-round"] = "auto-round"

    @model_validator(mode="after")
    def _what_formats_hold(self) -> AutoroundParams:
        if self.format == "auto_awq" and self.bits != 4:
            raise ValueError(
                f"quantize.bits={self.bits}: auto_awq has 4 bits; choose auto_gptq or auto_round"
            )
        if self.gguf and self.modules:
            raise ValueError(
                "quantize.modules: a GGUF file's type chooses for single modules; take the rules "
                "out, or use quantize=gguf with quantize.tensor_types"
            )
        return self


class Autoround(CheckpointEngine):
    """Rounding and clipping learned layer by layer; 0 steps round to the nearest."""

    version = 2
    roles: ClassVar[tuple[str, ...]] = ("model", "calibration")
    Params = AutoroundParams
    PACKAGES = ("auto-round", "torch", "transformers")
    EXTRA = "autoround"

    @classmethod
    def makes(cls, params: EngineParams) -> str:
        """A GGUF file for the formats of that name."""
        gguf = isinstance(params, AutoroundParams) and params.gguf
        return base.GGUF if gguf else base.CHECKPOINT

    def run(self, params: AutoroundParams, work: base.Work) -> Mapping[str, Json]:
        """Raises as all engines do."""
        if not params.gguf:
            return super().run(params, work)
        task = self.begin(params, work)
        self.make(params, task)
        (file,) = task.out.glob("*.gguf")
        file.rename(task.out / GGUF_FILE)
        for path in task.out.iterdir():
            if path.name != GGUF_FILE:
                path.unlink()
        return {**file_facts(task.out / GGUF_FILE), "calibration_tokens": task.tokens}

    @classmethod
    def allow(cls, params: AutoroundParams, asked: Asked) -> None:
        """A GGUF file's type has groups of its own, and falls back where they do not fit."""
        if not params.gguf:
            super().allow(params, asked)

    def make(self, params: AutoroundParams, task: Task) -> Mapping[str, Json]:
        """Goes on from the last finished layer, where layers are learned and written one by one."""
        learned = params.iters > 0 and not params.gguf
        folder, layers = task.out, [0]
        if task.partial is None or not learned:
            self._quantize(params, task, folder)
        else:
            with resuming(task.partial) as (folder, layers):
                self._quantize(params, task, folder)
        _move_up(folder, task.out)
        if params.gguf:
            return {}
        from qpipe.packed.restore import restore

        restore(task.out, task.source)
        # Under the name by which runtimes of GPTQ and AWQ look for it.
        (task.out / "quantization_config.json").rename(task.out / "quantize_config.json")
        return {"resumed_layers": layers[0]}

    def _quantize(self, params: AutoroundParams, task: Task, folder: Path) -> None:
        """Writes into a folder below ``folder``."""
        import torch
        from auto_round import AutoRound

        from qpipe.hf import reading

        torch.set_num_threads(task.threads)
        made = AutoRound(
            str(task.source),
            reading.read(task.source).tokenizer,
            scheme=params.format if params.gguf else _scheme(params),
            layer_config=_layers(params, task) or None,
            dataset=[
                {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids))}
                for ids in task.samples
            ],
            iters=params.iters,
            nsamples=len(task.samples),
            seqlen=max(map(len, task.samples)),
            batch_size=min(params.batch_size, len(task.samples)),
            seed=params.seed,
            device_map="cuda:0" if torch.cuda.is_available() else "cpu",
            enable_torch_compile=False,
        )
        made.quantize_and_save(output_dir=str(folder), format=params.format)


def _scheme(params: AutoroundParams) -> dict[str, Any]:
    return {
        "bits": params.bits, "group_size": params.group_size, "sym": params.sym,
        "data_type": "int", "act_bits": 16,
    }  # fmt: skip


def _layers(params: AutoroundParams, task: Task) -> dict[str, dict[str, Any]]:
    """Skipped modules keep 16 bits."""
    common = {"sym": params.sym, "data_type": "int"}
    return {
        name: {"bits": 16} if rule.skip else {**common, **rule.wishes}
        for name, rule in task.rules.items()
    }


def _move_up(folder: Path, out: Path) -> None:
    folders = [path for path in folder.iterdir() if path.is_dir()]
    if len(folders) > 1:
        raise CheckpointError(f"{folder}: auto-round wrote {len(folders)} folders instead of one")
    for below in folders:
        for path in below.iterdir():
            path.rename(out / path.name)
        below.rmdir()
