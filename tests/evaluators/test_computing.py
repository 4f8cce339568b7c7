"""What transformers cannot compute as asked is refused before anything runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qpipe.engines.bitsandbytes import Bitsandbytes, BitsandbytesParams
from qpipe.engines.llmcompressor import LlmcompressorRtn, LlmcompressorRtnParams
from qpipe.errors import EngineMissingError, OutOfMemoryError, QpipeError, RecipeError
from qpipe.evaluators.kld import TransformersKld, TransformersKldParams
from qpipe.evaluators.perplexity import TransformersPerplexity, TransformersPerplexityParams
from qpipe.evaluators.speed import CheckpointSpeed, CheckpointSpeedParams
from qpipe.evaluators.tasks import CheckpointTasks, CheckpointTasksParams
from qpipe.machine import gpu_memory, torch_build
from qpipe.stages.base import Order

STORIES = Path(__file__).parents[2] / "qpipe" / "data" / "tinystories-d256"
FP4 = {"type": "float", "num_bits": 4, "strategy": "tensor_group", "group_size": 16}
EVALUATORS: list[tuple[Any, Any, dict[str, Any]]] = [
    (CheckpointSpeed, CheckpointSpeedParams, {}),
    (CheckpointTasks, CheckpointTasksParams, {"tasks": ["arc_easy"]}),
    (TransformersKld, TransformersKldParams, {}),
    (TransformersPerplexity, TransformersPerplexityParams, {}),
]
each = pytest.mark.parametrize(("stage", "model", "own"), EVALUATORS, ids=lambda of: "")


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of the GPUs of a machine whose torch has CUDA: to be filled."""
    sizes: list[int] = []
    monkeypatch.setattr(torch_build, "cuda", lambda package=None: "13.0")
    monkeypatch.setattr(gpu_memory, "totals", lambda: tuple(sizes))
    return sizes


def refused(stage: Any, params: Any, folder: Path = STORIES) -> QpipeError | None:
    try:
        stage.refuse(params, Order({"model": folder}))
    except QpipeError as error:
        return error
    return None


@each
def test_torch_without_cuda(
    monkeypatch: pytest.MonkeyPatch, stage: Any, model: Any, own: dict[str, Any]
) -> None:
    monkeypatch.setattr(torch_build, "cuda", lambda package=None: None)
    assert refused(stage, model(**own)) is None
    error = refused(stage, model(**own, device="cuda"))
    assert isinstance(error, EngineMissingError)
    assert "evaluate.device: a GPU is to be used, and torch is built without CUDA" in str(error)
    assert "evaluate.device=cpu computes on the CPU" in str(error)


@each
def test_a_card_that_is_too_small(
    card: list[int], stage: Any, model: Any, own: dict[str, Any]
) -> None:
    """The model's 3.4 million weights are 13.6 MB in float32, and 6.8 in bfloat16."""
    on_gpu = model(**own, device="cuda")
    assert refused(stage, on_gpu) is None  # nothing says how large it is
    card += [4_000_000, 10_000_000]
    error = refused(stage, on_gpu)
    assert isinstance(error, OutOfMemoryError)
    assert "takes 0.0 GB of a GPU's memory at least, and the largest here has 0.0 GB" in str(error)
    assert refused(stage, model(**own, device="cuda", dtype="bfloat16")) is None
    assert refused(stage, model(**own)) is None


@each
def test_a_kernel_that_is_for_gpus(
    card: list[int], stage: Any, model: Any, own: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match="kernel=marlin computes in float16 or bfloat16 alone"):
        model(**own, kernel="marlin")
    asked = {**own, "kernel": "marlin", "dtype": "float16"}
    error = refused(stage, model(**asked))
    assert isinstance(error, RecipeError) and "computes on a GPU alone" in str(error)
    assert refused(stage, model(**asked, device="cuda")) is None


def test_a_precision_that_the_format_has_not(tmp_path: Path) -> None:
    group = {"targets": ["Linear"], "weights": FP4}
    quantization = {"quant_method": "compressed-tensors", "config_groups": {"group_0": group}}
    config = {"model_type": "llama", "quantization_config": quantization}
    (tmp_path / "config.json").write_text(json.dumps(config))
    params = TransformersPerplexityParams(dtype="float32")
    error = refused(TransformersPerplexity, params, tmp_path)
    assert isinstance(error, RecipeError) and "cannot be computed so, but in bfloat16" in str(error)
    params = TransformersPerplexityParams(dtype="bfloat16")
    assert refused(TransformersPerplexity, params, tmp_path) is None


def test_engines_too(card: list[int]) -> None:
    """bitsandbytes has the whole model on the card, llm-compressor a layer."""
    card.append(1_000_000)
    for_gpu = BitsandbytesParams(device="cuda")
    error = refused(Bitsandbytes, for_gpu)
    assert isinstance(error, OutOfMemoryError)
    assert "quantize.device: bitsandbytes takes 0.0 GB" in str(error)
    assert refused(Bitsandbytes, BitsandbytesParams()) is None
    assert refused(LlmcompressorRtn, LlmcompressorRtnParams(device="cuda")) is None
    card[:] = [100_000]
    assert isinstance(
        refused(LlmcompressorRtn, LlmcompressorRtnParams(device="cuda")), OutOfMemoryError
    )
