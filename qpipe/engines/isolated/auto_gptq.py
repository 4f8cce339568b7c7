"""AutoGPTQ 0.7.1 in its own environment (`qpipe.environments.child_runtime`); CUDA alone.

It names its file after bits and groups, and its config after the folder it was written to: both
become what other runtimes look for.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

import torch
from auto_gptq import AutoGPTQForCausalLM, BaseQuantizeConfig

if TYPE_CHECKING:
    from qpipe.environments.child_runtime import ScriptWork

# What AutoGPTQ 0.7.1 says of where a checkpoint lay, not of how it was made.
_PLACES = ("model_name_or_path", "model_file_base_name")

_LAYER = re.compile(r"Start quantizing layer (\d+)/(\d+)")


class _Layers(logging.Handler):
    """Turns what AutoGPTQ logs of its progress into ours."""

    def __init__(self, job: ScriptWork) -> None:
        super().__init__()
        self.job = job

    def emit(self, record: logging.LogRecord) -> None:
        """Report the layer that begins."""
        if match := _LAYER.search(record.getMessage()):
            self.job.progress(int(match[1]) - 1, int(match[2]), "layers")


def run(job: ScriptWork) -> dict[str, Any]:
    """Quantize ``inputs["model"]`` into ``out``.

    Params: those of BaseQuantizeConfig under ``config``, ``samples`` (lists of token ids),
    ``rope_theta`` (or None).
    """
    torch.set_num_threads(job.threads)
    logging.basicConfig(level=logging.INFO)
    logging.getLogger("auto_gptq.modeling._base").setLevel(logging.INFO)
    logging.getLogger("auto_gptq.modeling._base").addHandler(_Layers(job))
    model = _load(job)
    # transformers 4.51.3 takes its default base for what it does not find.
    job.check_rotary(model.model)
    samples = job.params["samples"]
    model.quantize(
        [{"input_ids": ids, "attention_mask": [1] * len(ids)} for ids in samples],
        batch_size=1,
        # AutoGPTQ 0.7.1 keeps all samples' activations on the GPU by default.
        cache_examples_on_gpu=False,
    )
    model.save_quantized(str(job.out), use_safetensors=True)
    # AutoGPTQ 0.7.1 names the file after bits and groups; runtimes look for model.safetensors.
    (weights,) = job.out.glob("*.safetensors")
    weights.rename(job.out / "model.safetensors")
    config = model.quantize_config.to_dict()
    return {
        "tokens": sum(map(len, samples)),
        "config": {name: value for name, value in config.items() if name not in _PLACES},
    }


def _load(job: ScriptWork) -> Any:
    try:
        return AutoGPTQForCausalLM.from_pretrained(
            str(job.inputs["model"]),
            BaseQuantizeConfig(**job.params["config"]),
            torch_dtype=torch.float16,
            trust_remote_code=False,
        )
    except TypeError as error:
        if "isn't supported yet" not in str(error):
            raise
        raise job.error(
            "CheckpointError",
            f"AutoGPTQ does not know this architecture ({error}); quantize.engine=gptqmodel may",
        ) from None
