"""What GPTQModel 7.6.0 gets wrong, mended while it quantizes or in what it wrote."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from qpipe.engines.common.checkpoint_files import OUTPUT
from qpipe.gguf.checkpoint import read_tensors
from qpipe.gguf.weight_files import INDEX
from qpipe.hf.gptqmodel import mended_loading, replaced
from qpipe.packed.write import TensorStream, write

# Rows at a time in GPTQModel 7.6.0's search for AWQ's clipping, where 256 do not divide them.
_ROWS = 64


@contextmanager
def mended() -> Iterator[None]:
    """All of it."""
    with ExitStack() as stack:
        for mend in (_whole_range, _zero_in_range, _codes_in_range, _any_rows, mended_loading):
            stack.enter_context(mend())
        yield


@contextmanager
def _whole_range() -> Iterator[None]:
    """Give symmetric groups without a negative weight the range of all others: they get half of it,
    and their largest weights come out as half of what they were (quantization/quantizer.py,
    ``find_params``; so it is in GPTQ's first code). One group of 16 in 65,536 is such a one."""
    from gptqmodel.quantization.quantizer import Quantizer

    find = Quantizer.find_params

    def whole(self: Any, x: Any, weight: bool = False) -> None:
        find(self, x, weight)
        if weight and self.qcfg.sym and not self.qcfg.mse:
            rows = x.flatten(1)
            lone = (rows.amin(1) >= 0) & (rows.amax(1) > 0)
            self.scale[lone] *= 2

    # gptqmodel 7.6.0: half of the range for symmetric groups without a negative weight.
    with replaced(Quantizer, "find_params", whole):
        yield


@contextmanager
def _zero_in_range() -> Iterator[None]:
    """Give AWQ's groups whose weights are all of one sign a range with zero in it, which their zero
    points stand for: without it all codes are the same (looper/awq_processor.py,
    ``pseudo_quantize_tensor``)."""
    from gptqmodel.looper.awq_processor import AWQProcessor

    rounded, into = AWQProcessor.pseudo_quantize_tensor, AWQProcessor._pseudo_quantize_tensor_into

    def rounds(self: Any, weight: Any) -> Any:
        if self.qcfg.sym:
            return rounded(self, weight)
        values, scales, zeros = _with_zero(_groups(weight, self.qcfg.group_size), self.qcfg.bits)
        rows = len(weight)
        return values.reshape(weight.shape), scales.view(rows, -1), zeros.view(rows, -1)

    def rounds_into(self: Any, source: Any, target: Any) -> None:
        if self.qcfg.sym:
            into(self, source, target)
        else:
            values, _, _ = _with_zero(_groups(source, self.qcfg.group_size), self.qcfg.bits)
            target.copy_(values.reshape(source.shape))

    with (
        # gptqmodel 7.6.0: no zero in the range of AWQ's groups of one sign.
        replaced(AWQProcessor, "pseudo_quantize_tensor", rounds),
        replaced(AWQProcessor, "_pseudo_quantize_tensor_into", rounds_into),
    ):
        yield


def _groups(weight: Any, size: int) -> Any:
    """A group a row; -1: a row of ``weight``."""
    return weight.reshape(-1, size) if size > 0 else weight.reshape(len(weight), -1)


def _with_zero(groups: Any, bits: int) -> tuple[Any, Any, Any]:
    """Groups rounded to ``bits``, their scales, and their zero points: as GPTQModel does, but for
    the range. Each is (groups, …)."""
    most = 2**bits - 1
    low = groups.amin(dim=1, keepdim=True).clamp(max=0)
    high = groups.amax(dim=1, keepdim=True).clamp(min=0)
    scales = (high - low).clamp(min=1e-5) / most
    zeros = (-(low / scales).round()).clamp(0, most)
    codes = ((groups / scales).round() + zeros).clamp(0, most)
    return (codes - zeros) * scales, scales, zeros


@contextmanager
def _codes_in_range() -> Iterator[None]:
    """Clamp AWQ's codes: scales rounded to BF16 make 256 of the largest weights of a group, which
    8 bits hold as 0 (nn_modules/qlinear/torch_awq.py, ``AwqTorchLinear.pack``)."""
    from gptqmodel.nn_modules.qlinear import torch_awq

    pack = torch_awq.pack_awq

    def clamped(codes: Any, zeros: Any, bits: int) -> Any:
        return pack(codes.clamp(0, 2**bits - 1), zeros, bits)

    # gptqmodel 7.6.0: codes of 256 wrap to 0.
    with replaced(torch_awq, "pack_awq", clamped):
        yield


@contextmanager
def _any_rows() -> Iterator[None]:
    """Fill rows up with zeros: it asserts that 64 divide them (looper/awq_processor.py,
    ``_compute_best_clip``)."""
    import torch
    from gptqmodel.looper.awq_processor import AWQProcessor

    search = AWQProcessor._compute_best_clip

    def filled(self: Any, weight: Any, inputs: Any, *args: Any, **how: Any) -> Any:
        rows = len(weight)
        whole = torch.nn.functional.pad(weight, (0, 0, 0, -rows % _ROWS))
        return search(self, whole, inputs, *args, **how)[:rows]

    # gptqmodel 7.6.0: asserts that 64 divides the rows.
    with replaced(AWQProcessor, "_compute_best_clip", filled):
        yield


def rename_output(out: Path, source: Path) -> None:
    """Give the output matrix the name that it has in the source: GPT-NeoX's is ``embed_out``, and
    GPTQModel saves it as transformers 5 calls it."""
    # gptqmodel 7.6.0 with transformers 5.17.0.
    saved_name, source_name = f"{OUTPUT}.weight", "embed_out.weight"
    tensors = read_tensors(out)
    if saved_name not in tensors or source_name not in read_tensors(source):
        return
    path = tensors[saved_name].path
    entries = [
        replace(TensorStream.copy(tensor), name=source_name if name == saved_name else name)
        for name, tensor in tensors.items()
        if tensor.path == path
    ]
    write(path.with_suffix(".renamed"), sorted(entries, key=lambda entry: entry.name))
    path.with_suffix(".renamed").replace(path)
    if (out / INDEX).exists():
        index = json.loads((out / INDEX).read_bytes())
        index["weight_map"][source_name] = index["weight_map"].pop(saved_name)
        (out / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")
