"""One quantization by auto-round, whatever is made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qpipe.engines.common.checkpoint_engine import Task
from qpipe.errors import CheckpointError
from qpipe.stages.device import CUDA


def quantize(
    params: Any,
    task: Task,
    folder: Path,
    *,
    scheme: str | Mapping[str, Any],
    layers: Mapping[str, Mapping[str, Any]],
    packing: str,
) -> None:
    """Write the model of ``task`` as ``packing`` into a folder below ``folder``.

    ``params`` has ``iters``, ``batch_size``, ``seed`` and ``computes_on``; ``scheme`` and what
    ``layers`` has of single modules are auto-round's.
    """
    import torch
    from auto_round import AutoRound
    from auto_round.utils.device_manager import get_ar_device

    from qpipe.hf.tokenizer import read_tokenizer

    torch.set_num_threads(task.threads)
    if params.computes_on != CUDA:
        # auto-round 0.15.1 computes in float32 on a CPU without instructions for bfloat16: other
        # codes, and in some forms scales of another type, by the machine.
        get_ar_device("cpu")._bf16_supported = True
    quantizer = AutoRound(
        str(task.source),
        # transformers 5.17.0 reads some tokenizers otherwise than tokenizer.json has them.
        read_tokenizer(task.source).tokenizer,
        scheme=scheme,
        layer_config={name: dict(rule) for name, rule in layers.items()} or None,
        dataset=[
            {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids))}
            for ids in task.samples
        ],
        iters=params.iters,
        nsamples=len(task.samples),
        seqlen=max(map(len, task.samples)),
        batch_size=min(params.batch_size, len(task.samples)),
        seed=params.seed,
        device_map="cuda:0" if params.computes_on == CUDA else "cpu",
        enable_torch_compile=False,
    )
    quantizer.quantize_and_save(output_dir=str(folder), format=packing)


def move_up(folder: Path, out: Path) -> None:
    """Move what auto-round wrote into ``out``: 0.15.1 saves into a folder of its own below."""
    folders = [path for path in folder.iterdir() if path.is_dir()]
    if len(folders) > 1:
        raise CheckpointError(f"{folder}: auto-round wrote {len(folders)} folders instead of one")
    for below in folders:
        for path in below.iterdir():
            path.rename(out / path.name)
        below.rmdir()
