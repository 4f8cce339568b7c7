"""lm-eval's own HFLM and our model on the same weights answer alike, item by item."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import llama_server
from tests.evaluators.tasks import ask
from tests.vllm_environment import NEEDED, installed


def needs_vllm(test: Any) -> Any:
    for mark in NEEDED:
        test = mark(test)
    return test


Gguf = Callable[[str, str], Path]
MODEL = Path(__file__).parents[2] / "qpipe" / "data" / "tinystories-d256"
TASKS = ("stories", "stories_next", "stories_whole")

pytestmark = [
    pytest.mark.xdist_group("tasks-agree"),
    pytest.mark.slow,
    # torch's, transformers' and datasets' own.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def hugging_face(tmp_path_factory: pytest.TempPathFactory) -> Any:
    import torch
    from lm_eval.models.huggingface import HFLM

    torch.set_num_threads(1)  # more would spin on shared cores
    lm = HFLM(pretrained=str(MODEL), device="cpu", dtype="float32", batch_size=8)
    return ask(lm, TASKS, tmp_path_factory.mktemp("hf") / "answers.jsonl", limit=24)[0]


@pytest.mark.parametrize(
    ("kv", "tolerance"),
    [({"type_k": "f32", "type_v": "f32", "flash_attention": "off"}, 1e-3), ({}, 0.05)],
    ids=["exact-cache", "default"],
)
def test_item_by_item(
    kv: dict[str, Any], tolerance: float, hugging_face: Any, gguf_of: Gguf, tmp_path: Path
) -> None:
    from qpipe.evaluators.harness.gguf import GgufLM

    with GgufLM(gguf_of("tinystories-d256", "F32"), threads=2, **kv) as lm:
        ours, _ = ask(lm, TASKS, tmp_path / "answers.jsonl", limit=24)
    require_same(ours, hugging_face, tolerance)


def test_item_by_item_by_llama_server(
    hugging_face: Any, gguf_of: Gguf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qpipe.evaluators.harness.server import ServerLM

    llama_server.on_path(tmp_path, monkeypatch)
    with ServerLM(gguf_of("tinystories-d256", "F32"), threads=2, options=()) as lm:
        ours, _ = ask(lm, TASKS, tmp_path / "answers.jsonl", limit=24)
    require_same(ours, hugging_face, 0.05)


@needs_vllm
def test_item_by_item_by_vllm(
    hugging_face: Any, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from qpipe.evaluators.common.vllm_environment import CPU
    from qpipe.evaluators.harness.vllm import VllmLM

    with installed(tmp_path_factory), VllmLM(MODEL, CPU, threads=2) as lm:
        ours, _ = ask(lm, TASKS, tmp_path / "answers.jsonl", limit=24)
        assert "float32, cpu, CPU_ATTN" in lm.computed_by
    require_same(ours, hugging_face, 1e-3)


def require_same(ours: Any, hugging_face: Any, tolerance: float) -> None:
    for task in TASKS:
        pairs = list(zip(ours["samples"][task], hugging_face["samples"][task], strict=True))
        assert len(pairs) == 24
        for mine, theirs in pairs:
            assert mine["prompt_hash"] == theirs["prompt_hash"]
            if task == "stories_next":
                assert mine["resps"] == theirs["resps"]
            elif task == "stories":
                for (a, b), (c, d) in zip(flat(mine), flat(theirs), strict=True):
                    assert a == pytest.approx(c, abs=tolerance)
                    assert b == d
                assert (mine["acc"], mine["acc_norm"]) == (theirs["acc"], theirs["acc_norm"])
            else:
                assert flat(mine) == pytest.approx(flat(theirs), abs=tolerance)
        for key, value in hugging_face["results"][task].items():
            if isinstance(value, float):
                assert ours["results"][task][key] == pytest.approx(value, rel=tolerance)
    assert 0.5 < ours["results"]["stories"]["acc,none"] <= 1.0, "this model is better than chance"


def flat(sample: dict[str, Any]) -> list[Any]:
    return [answers[0] for answers in sample["resps"]]
