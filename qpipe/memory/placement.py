"""Which layer is on which device."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from qpipe.memory.setting import RunSetting
from qpipe.memory.weights import Weights, tensor_role

CPU, GPU = "cpu", "gpu"


def devices(setting: RunSetting, depth: int) -> Sequence[str]:
    """The device of each of ``depth`` layers, and last that of the output.

    llama.cpp puts the last ``layers_offloaded`` of these on the GPU (src/llama-model.cpp,
    load_tensors: i_gpu_start); vLLM and ExLlama compute on a GPU alone, transformers on the CPU
    unless layers are offloaded, and then all.
    """
    asked = setting.layers_offloaded or 0
    if setting.runtime in ("vllm", "exllama"):
        return [GPU] * (depth + 1)
    if setting.runtime == "transformers":
        return [GPU if asked else CPU] * (depth + 1)
    offloaded = depth + 1 if asked < 0 else min(asked, depth + 1)
    return [CPU] * (depth + 1 - offloaded) + [GPU] * offloaded


def weight_bytes(
    device: str, weights: Weights, places: Sequence[str], *, table_on_cpu: bool = False
) -> int:
    """Bytes of the weights on ``device``: with layers on both, or with ``table_on_cpu``, as
    llama.cpp has it, the table of tokens stays with the CPU, and is on the GPU once more where it
    is the output matrix too."""
    depth = len(places) - 1
    each = [weights.of_layer(i, depth) for i in range(depth)]
    here = sum(size for size, place in zip(each, places, strict=False) if place == device)
    if places[-1] == device:
        here += weights.total - sum(each) - weights.embeddings
    if len({*places}) == 1 and not (table_on_cpu and places[-1] == GPU):
        return here + (weights.embeddings if places[-1] == device else 0)
    doubled = places[-1] == GPU and not weights.head
    return here + (weights.embeddings if device == CPU or doubled else 0)


def loaded(names: Iterable[str], setting: RunSetting, depth: int) -> frozenset[str]:
    """Return those of a model's tensors whose bytes are on the device that computes all ``depth``
    layers: not of layers that predict further tokens, nor llama.cpp's table of tokens beside a GPU,
    where that is not the output matrix too."""
    roles = {name: tensor_role(name) for name in names}
    beside = setting.runtime == "llama.cpp" and bool(setting.layers_offloaded)
    beside = beside and any(role == "head" for _, role in roles.values())
    return frozenset(
        name
        for name, (layer, role) in roles.items()
        if (layer < depth if layer is not None else not (beside and role == "table"))
    )
