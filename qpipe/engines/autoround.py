"""AutoRound: learned rounding, for the runtimes of GPTQ, AWQ, vLLM and llama.cpp."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import model_validator

from qpipe.core.key import Json
from qpipe.engines import _autoround
from qpipe.engines._autoround_layers import resuming
from qpipe.engines.common import fused_rules
from qpipe.engines.common.checkpoint_engine import CheckpointEngine, Target, Task
from qpipe.engines.common.gguf_engine import GGUF_FILE
from qpipe.engines.common.gguf_facts import file_facts
from qpipe.engines.common.methods import AutoRoundMethodParams
from qpipe.engines.common.module_mix import SENSITIVITY
from qpipe.engines.common.output_check import ROUTER, share
from qpipe.engines.common.unsupported import NOT_LINEAR
from qpipe.errors import RecipeError
from qpipe.hf.device import computed_on, require
from qpipe.results.model import ModelFacts
from qpipe.stages import base
from qpipe.stages.engine import EngineParams

_GGUF = (
    "gguf:q4_0", "gguf:q4_1", "gguf:q5_0", "gguf:q5_1", "gguf:q8_0", "gguf:q2_k_s",
    "gguf:q2_k_mixed", "gguf:q3_k_s", "gguf:q3_k_m", "gguf:q3_k_l", "gguf:q4_k_s", "gguf:q4_k_m",
    "gguf:q5_k_s", "gguf:q5_k_m", "gguf:q6_k",
)  # fmt: skip
"""Source: auto-round 0.15.1, auto_round/schemes.py, ``GGUF_PRESET_ALIASES``."""

# Formats in which each module can have other bits and groups.
_MIXED = ("auto_gptq", "auto_round")

# What else packs, by format; AutoGPTQ's and its own auto-round packs itself.
_WRITERS = {"llm_compressor": "compressed-tensors"}

_BLOOM = (
    "position biases are not batched as {engine} 0.15 batches its samples, which fails after some "
    "layers: use quantize=rtn or quantize=gptq"
)
_MIXTRAL = (
    "experts are written under other names than the model's by {engine} 0.15: use quantize=gguf"
)


class AutoroundParams(AutoRoundMethodParams):
    """A GGUF file's type says bits and groups."""

    RULES = ("bits", "group_size", "skip")
    # auto-round 0.15.1 packs the code 256 as 0, of 8 bits without zero points too (seen in 1 of
    # 196,608 weights of tinystories-d256, iters=0).
    MIXED_BITS = (2, 3, 4)

    engine: Literal["auto-round"] = "auto-round"

    @model_validator(mode="after")
    def _check_format(self) -> AutoroundParams:
        if self.gguf and self.format not in _GGUF:
            names = ", ".join(_GGUF)
            raise ValueError(f"quantize.format={self.format}: auto-round writes {names}")
        if not self.gguf:
            self._check_bits("quantize.bits", self.bits)
            for pattern, rule in self.modules.items():
                if rule.bits is not None:
                    self._check_bits(f"quantize.modules: {pattern!r} sets bits", rule.bits)
        # auto-round 0.15.1 writes no zero points there.
        if self.format == "llm_compressor" and not self.sym:
            raise ValueError(
                "quantize.sym=false: auto-round packs llm_compressor's format without zero points "
                "alone; choose quantize.format=auto_round, or quantize.sym=true"
            )
        if self.target is not None and self.format not in _MIXED:
            instead = "quantize=gguf" if self.gguf else f"quantize.format={_MIXED[0]}"
            raise ValueError(
                f"quantize.target: {self.format} has bits and groups of its own for all modules; "
                f"take {instead}, which can mix them"
            )
        if self.gguf and self.modules:
            raise ValueError(
                "quantize.modules: a GGUF file's type chooses for single modules; take the rules "
                "out, or use quantize=gguf with quantize.tensor_types"
            )
        return self

    def _check_bits(self, field: str, bits: int) -> None:
        if bits not in (2, 3, 4, 8):
            raise ValueError(f"{field}={bits}: auto-round packs 2, 3, 4 and 8 bits")
        if self.format == "auto_awq" and bits != 4:
            raise ValueError(f"{field}={bits}: auto_awq has 4 bits; choose auto_gptq or auto_round")
        # auto-round 0.15.1 packs the code 256 as 0.
        if bits == 8 and not self.sym:
            raise ValueError(
                f"{field}=8 with quantize.sym=false: auto-round 0.15 takes the largest weight of "
                "some groups for the smallest (256 in 8 bits is 0); set quantize.sym=true"
            )


class Autoround(CheckpointEngine):
    """Rounding and clipping learned layer by layer; 0 steps round to the nearest."""

    version = 2
    roles: ClassVar[tuple[str, ...]] = ("model", "calibration")
    optional_roles = (SENSITIVITY,)
    Params = AutoroundParams
    REFUSES: ClassVar[Mapping[str, str]] = {**NOT_LINEAR, "bloom": _BLOOM, "mixtral": _MIXTRAL}
    PACKAGES = ("auto-round", "torch", "transformers")
    EXTRA = "autoround"

    @classmethod
    def fingerprint(cls, params: AutoroundParams) -> Mapping[str, Json]:
        """Also what writes the file of the format asked for."""
        versions = super().fingerprint(params)
        if params.format == "auto_gptq" and (params.modules or params.target is not None):
            versions = {**versions, "fused_rules": 1}  # of what vLLM computes as one
        writes = "gguf" if params.gguf else _WRITERS.get(params.format)
        return versions if writes is None else {**versions, writes: base.installed(writes)}

    @classmethod
    def makes(cls, params: EngineParams) -> str:
        """A GGUF file for the formats of that name."""
        gguf = isinstance(params, AutoroundParams) and params.gguf
        return base.GGUF if gguf else base.CHECKPOINT

    def run(self, params: AutoroundParams, work: base.Work) -> ModelFacts:
        """Raises as all engines do."""
        if not params.gguf:
            return super().run(params, work)
        task = self.begin(params, work)
        require(params.computes_on, alone=True)
        self.make(params, task)
        (file,) = task.out.glob("*.gguf")
        file.rename(task.out / GGUF_FILE)
        for path in task.out.iterdir():
            if path.name != GGUF_FILE:
                path.unlink()
        where = computed_on(params.computes_on, task.threads)
        facts = file_facts(task.out / GGUF_FILE)
        return facts.adding(calibration_tokens=task.tokens, computed_on=where)

    @classmethod
    def allow(cls, params: AutoroundParams, target: Target) -> None:
        """A GGUF file's type has groups of its own, and falls back where they do not fit."""
        if params.gguf:
            return
        super().allow(params, target)
        # auto-round 0.15.1 leaves such matrices as they are.
        odd = [name for name, shape in target.quantized.items() if any(side % 32 for side in shape)]
        odd = [name for name in odd if name in target.rules or not ROUTER.search(name)]
        if odd:
            raise RecipeError(
                f"model.source: {share(odd, target.quantized)} would stay as they are: auto-round "
                "packs matrices whose sides 32 divides; use another engine, or say that they stay: "
                f"quantize.modules={{{odd[-1].split('.')[-1]}: skip}}"
            )

    def make(self, params: AutoroundParams, task: Task) -> Mapping[str, Json]:
        """Goes on from the last finished layer, where layers are learned and written one by one."""
        learned = params.iters > 0 and not params.gguf
        folder, layers = task.out, [0]
        if task.partial is None or not learned:
            self._quantize(params, task, folder)
        else:
            with resuming(task.partial) as (folder, layers):
                self._quantize(params, task, folder)
        _autoround.move_up(folder, task.out)
        if params.gguf:
            return {}
        from qpipe.packed.restore import restore

        # auto-round 0.15.1 writes float32 on a CPU, and a file a layer.
        restore(task.out, task.source)
        # auto-round 0.15.1 gives it another name than runtimes of GPTQ and AWQ look for.
        (task.out / "quantization_config.json").rename(task.out / "quantize_config.json")
        if params.format == "auto_gptq":
            fused_rules.add(task.out, task.modules, spelled=fused_rules.anywhere)
        return {"resumed_layers": layers[0]}

    def _quantize(self, params: AutoroundParams, task: Task, folder: Path) -> None:
        _autoround.quantize(
            params,
            task,
            folder,
            scheme=params.format if params.gguf else _scheme(params),
            layers=_layers(params, task),
            packing=params.format,
        )


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
