"""AutoAWQ 0.2.9 in its own environment (`qpipe.environments.child_runtime`).

Traps that are handled here: ``from_pretrained`` runs a model's code unless it is told not to;
calibration samples longer than ``max_calib_seq_len`` are dropped, and the rest of the last block
too; the rotary base of a newer checkpoint may not have got through. And on a CPU the search for
scales damages the weights: quantizer.py, ``_compute_best_scale`` keeps the originals with
``.cpu()``, which copies nothing there, and then scales them in place.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import torch
from awq import AutoAWQForCausalLM
from awq.quantize.quantizer import AwqQuantizer

if TYPE_CHECKING:
    from qpipe.environments.child_runtime import ScriptWork


def run(job: ScriptWork) -> dict[str, Any]:
    """Quantize ``inputs["model"]`` into ``out``.

    Params: ``bits``, ``group_size``, ``version``, ``skip`` (names of modules within a layer),
    ``samples`` (lists of token ids), ``rope_theta`` (or None), ``shard`` (AutoAWQ's word for it).
    """
    torch.set_num_threads(job.threads)
    logging.basicConfig(level=logging.INFO)
    model = _load(job)
    # transformers 4.51.3 takes its default base for what it does not find.
    job.check_rotary(model.model)
    samples = job.params["samples"]
    # AutoAWQ 0.2.9 drops samples longer than max_calib_seq_len without a word.
    longest = max(map(len, samples))
    shape: list[int] = []

    class ReportingQuantizer(AwqQuantizer):  # type: ignore[misc]
        """Reports each layer, and how many tokens really go through."""

        def _get_input_feat(self, layer: Any, named_linears: Any) -> Any:
            at = next(i for i, module in enumerate(self.modules) if module is layer)
            if at == 0:
                # AutoAWQ 0.2.9 cuts samples into blocks and leaves out the rest of the last.
                shape.extend(self.inps.shape[:2])
            job.progress(at, len(self.modules), "layers")
            return super()._get_input_feat(layer, named_linears)

        def _compute_best_scale(
            self, x: Any, w_mean: Any, x_mean: Any, module2inspect: Any, *rest: Any
        ) -> Any:
            # AutoAWQ 0.2.9 keeps the originals by `.cpu()`, which copies nothing on a CPU, and
            # scales them in place.
            state = module2inspect.state_dict
            module2inspect.state_dict = lambda: {name: t.clone() for name, t in state().items()}
            try:
                return super()._compute_best_scale(x, w_mean, x_mean, module2inspect, *rest)
            finally:
                del module2inspect.state_dict

    model.quantize(
        None,  # the samples are token ids already
        quant_config={
            "zero_point": True,
            "q_group_size": job.params["group_size"],
            "w_bit": job.params["bits"],
            "version": job.params["version"],
            "modules_to_not_convert": job.params["skip"] or None,
        },
        calib_data=samples,
        max_calib_samples=len(samples),
        max_calib_seq_len=longest,
        quantizer_cls=ReportingQuantizer,
    )
    model.save_quantized(str(job.out), shard_size=job.params["shard"])
    return {"tokens": shape[0] * shape[1], "config": model.quant_config.to_transformers_dict()}


def _load(job: ScriptWork) -> Any:
    try:
        return AutoAWQForCausalLM.from_pretrained(
            str(job.inputs["model"]),
            torch_dtype=torch.float16,
            # AutoAWQ 0.2.9 runs a model's code by default.
            trust_remote_code=False,
            safetensors=True,
            device_map=None,
        )
    except TypeError as error:
        if "isn't supported yet" not in str(error):
            raise
        raise job.error(
            "CheckpointError",
            f"AutoAWQ does not know this architecture ({error}); quantize.engine=gptqmodel may",
        ) from None
