"""What llm-compressor leaves out or calls otherwise is put right in what it wrote."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qpipe.engines.llmcompressor import _NAMES
from qpipe.gguf.checkpoint import read_tensors
from qpipe.packed.restore import complete
from qpipe.packed.write import stored
from tests.packed.checkpoints import checkpoint

EMBEDDINGS = np.arange(32, dtype=np.float16).reshape(4, 8)
TIED = {"model.embed_tokens.weight": EMBEDDINGS}
UNTIED = {**TIED, "lm_head.weight": EMBEDDINGS}


@pytest.mark.parametrize("full", [1, 1 << 20], ids=["many files", "one file"])
def test_an_output_matrix_that_equals_the_embeddings_comes_back(tmp_path: Path, full: int) -> None:
    source, made = (checkpoint(tmp_path / n, t) for n, t in (("a", UNTIED), ("b", TIED)))
    assert complete(made, source, {}, full=full)
    found = read_tensors(made)
    assert found.keys() == UNTIED.keys()
    assert all(b"".join(stored(tensor)) == EMBEDDINGS.tobytes() for tensor in found.values())
    assert len(list(made.glob("*.safetensors"))) == (2 if full == 1 else 1)
    assert read_tensors(source).keys() == UNTIED.keys()


def test_what_is_whole_is_left_alone(tmp_path: Path) -> None:
    source, made = (checkpoint(tmp_path / n, t) for n, t in (("a", TIED), ("b", TIED)))
    before = (made / "model.safetensors").stat()
    assert not complete(made, source, _NAMES["mixtral"])
    assert (made / "model.safetensors").stat().st_ino == before.st_ino


def test_experts_get_the_names_of_the_model(tmp_path: Path) -> None:
    expert = "model.layers.1.block_sparse_moe.experts.10."
    tensors = {
        f"{expert}{name}.weight_packed": EMBEDDINGS + at
        for at, name in enumerate(("gate_proj", "down_proj", "up_proj"))
    }
    made = checkpoint(tmp_path, {**TIED, **tensors})
    assert complete(made, made, _NAMES["mixtral"])
    found = read_tensors(made)
    assert found.keys() == {*TIED, *(f"{expert}{w}.weight_packed" for w in ("w1", "w2", "w3"))}
    assert b"".join(stored(found[f"{expert}w2.weight_packed"])) == (EMBEDDINGS + 1).tobytes()
