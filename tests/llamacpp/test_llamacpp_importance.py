"""Importance matrices against llama-imatrix's, and the callback behind them."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from qpipe.errors import DataError, EngineMissingError
from qpipe.gguf import imatrix, reader
from qpipe.llamacpp import c_api, library, observe
from qpipe.llamacpp.batch import Batch
from qpipe.llamacpp.context import ContextOptions, LlamaContext
from qpipe.llamacpp.importance import Importance, importance
from qpipe.llamacpp.model import Model
from tests.gguf import samples

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("importance")]

Gguf = Callable[[str, str], Path]

TEXTS = {
    "stories260K": "tests/data/texts/tinystories_train_head_ascii.txt",
    "qwen2-r": "tests/data/texts/tinystories_train_head_ascii.txt",
    "tinystories-d256": "qpipe/data/texts/tinystories_lower_heldout.txt",
}


def text_of(model: str) -> str:
    return (samples.ROOT / TEXTS[model]).read_text()


@pytest.fixture(scope="module", params=list(TEXTS))
def made(request: pytest.FixtureRequest, gguf_of: Gguf) -> tuple[str, Importance]:
    name = str(request.param)
    path = gguf_of(name, samples.CONVERTED[name])
    return name, importance(path, text_of(name), n_ctx=256, chunks=40, threads=2)


def written(found: Importance, out: Path, text: str) -> Path:
    entries = {name: (entry.sums, entry.counts) for name, entry in found.entries.items()}
    imatrix.write(out, entries, datasets=[text], chunks=found.chunks, chunk_size=found.n_ctx)
    return out


def test_it_is_llama_imatrixs(made: tuple[str, Importance], tmp_path: Path) -> None:
    """Counts, names and metadata exactly; sums as far as other machine code can agree."""
    model, found = made
    ours = reader.read(written(found, tmp_path / "i.gguf", Path(TEXTS[model]).name))
    golden = reader.read(samples.imatrix_of(model))
    assert ours.metadata == golden.metadata
    assert list(ours.tensors) == list(golden.tensors)
    for name, tensor in ours.tensors.items():
        mine, theirs = (f.data(f.tensors[name]).view("<f4") for f in (ours, golden))
        assert tensor.shape == golden.tensors[name].shape
        if name.endswith(".counts"):
            np.testing.assert_array_equal(mine, theirs)
        else:
            np.testing.assert_allclose(mine, theirs, rtol=5e-4)


def test_the_first_layers_inputs_are_bit_identical(made: tuple[str, Importance]) -> None:
    """Nothing but a norm lies before them, so that windows and the order of sums are all there
    is to get wrong."""
    model, found = made
    golden = reader.read(samples.imatrix_of(model))
    for part in "qkv":
        name = f"blk.0.attn_{part}.weight"
        theirs = golden.data(golden.tensors[name + ".in_sum2"]).view("<f4")
        np.testing.assert_array_equal(found.entries[name].sums.ravel(), theirs.ravel())


def test_facts(made: tuple[str, Importance]) -> None:
    found = made[1]
    assert (found.chunks, found.tokens) == (40, 10240)
    assert found.available == found.text_tokens // 256 > 40
    assert (found.unseen, found.short) == ({}, {})


@pytest.mark.parametrize("model", list(TEXTS))
def test_a_golden_file_is_written_back_byte_for_byte(model: str, tmp_path: Path) -> None:
    path = samples.imatrix_of(model)
    file = reader.read(path)
    data = {name: file.data(tensor).view("<f4") for name, tensor in file.tensors.items()}
    names = [name.removesuffix(".counts") for name in data if name.endswith(".counts")]
    imatrix.write(
        tmp_path / "again.gguf",
        {name: (data[name + ".in_sum2"], data[name + ".counts"]) for name in names},
        datasets=imatrix.read(path).datasets,
        chunks=40,
        chunk_size=256,
    )
    assert (tmp_path / "again.gguf").read_bytes() == path.read_bytes()


def test_experts_are_written_apart_and_the_unseen_found_again(tmp_path: Path) -> None:
    sums, counts = np.arange(12, dtype=np.float32).reshape(3, 4), np.array([2, 0, 4])
    out = tmp_path / "moe.gguf"
    imatrix.write(
        out, {"blk.0.ffn_up_exps.weight": (sums, counts)}, datasets=[], chunks=1, chunk_size=16
    )
    shapes = {name: tensor.shape for name, tensor in reader.read(out).tensors.items()}
    assert set(shapes.values()) == {(3, 4), (3, 1)}
    found = imatrix.read(out)
    assert found.unseen == {"blk.0.ffn_up_exps.weight": (1,)}
    expected = [0, 0.5, 1, 1.5, 1, 1, 1, 1, 2, 2.25, 2.5, 2.75]
    assert found.weights["blk.0.ffn_up_exps.weight"].tolist() == expected


def test_threads_do_not_change_it(gguf_of: Gguf) -> None:
    path, text = gguf_of("stories260K", "F32"), text_of("stories260K")[:20_000]
    one, two = (importance(path, text, n_ctx=64, chunks=3, threads=n) for n in (1, 2))
    for name, entry in one.entries.items():
        np.testing.assert_array_equal(entry.sums, two.entries[name].sums)


def test_the_output_matrix_only_when_asked(gguf_of: Gguf) -> None:
    path, text = gguf_of("stories260K", "F32"), text_of("stories260K")[:20_000]
    found = importance(path, text, n_ctx=64, chunks=2, threads=2, with_output=True)
    extra = set(found.entries) - set(importance(path, text, n_ctx=64, chunks=2, threads=2).entries)
    assert len(extra) == 1
    assert extra <= {"output.weight", "token_embd.weight"}


def test_tokens_that_llama_cpp_passes_over_are_counted(gguf_of: Gguf) -> None:
    """A window of 520 is computed as 512 tokens and 8, and 8 are too few for it."""
    found = importance(
        gguf_of("stories260K", "F32"), text_of("stories260K"), n_ctx=520, chunks=1, threads=2
    )
    assert set(found.short.values()) == {512}
    assert set(found.short) == set(found.entries)


def test_progress_counts_tokens(gguf_of: Gguf) -> None:
    seen: list[tuple[int, int]] = []
    importance(
        gguf_of("stories260K", "F32"),
        text_of("stories260K"),
        n_ctx=512,
        chunks=6,
        threads=2,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(2048, 3072), (3072, 3072)]


def test_a_short_text_is_refused(gguf_of: Gguf) -> None:
    """Only a length that the recipe may have is advised."""
    model = gguf_of("stories260K", "F32")
    for text, advice in (
        ("", "give a longer text$"),
        ("Once upon a time", "give a longer text$"),
        ("Once upon a time " * 15, r"longer text, or set calibration\.length to 3\d or less"),
    ):
        with pytest.raises(DataError, match=f"two windows of 64: .*{advice}"):
            importance(model, text, n_ctx=64, chunks=None, threads=1)


class Failing:
    def __init__(self, *, asked: bool) -> None:
        self.asked = asked
        self.seen = 0

    def wants(self, tensor: observe.GraphTensor) -> bool:
        if self.asked:
            raise KeyError("asked")
        return True

    def see(self, tensor: observe.GraphTensor) -> None:
        self.seen += 1
        raise KeyError("seen")


@pytest.mark.parametrize("asked", [True, False])
def test_an_observers_error_comes_out_of_decode(
    asked: bool, gguf_of: Gguf, capfd: pytest.CaptureFixture[str]
) -> None:
    with Model(gguf_of("stories260K", "F32")) as model:
        failing = Failing(asked=asked)
        watch = observe.Watch(model.lib, failing)
        batch = Batch([1, 5], positions=[0, 1], sequences=[0, 0], outputs=[1, 1])
        with (
            LlamaContext(model, ContextOptions(n_ctx=64, threads=1), watch=watch) as context,
            pytest.raises(KeyError, match="asked" if asked else "seen"),
        ):
            context.decode(batch)
    assert failing.seen == (0 if asked else 1)
    assert capfd.readouterr().err == ""


# sizeof and offsetof as gcc prints them for the ggml.h of the wheel's source distribution.
def test_the_layout_of_tensors_is_the_compilers() -> None:
    offsets = {"buffer": 8, "ne": 16, "nb": 48, "op": 80, "src": 152, "view_src": 232, "data": 248,
               "name": 256, "extra": 320}  # fmt: skip
    assert ctypes.sizeof(c_api.TensorStruct) == 336
    found = {name: getattr(c_api.TensorStruct, name).offset for name in offsets}
    assert found == offsets


def test_other_tensors_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    c = library.load().c
    observe.check(c)
    monkeypatch.setattr(observe, "OPERATIONS", {"MUL_MAT": 28})
    with pytest.raises(EngineMissingError, match=r"MUL_MAT in xllamacpp .* and not MUL_MAT"):
        observe.check(c)
    monkeypatch.setattr(observe, "TENSOR_OVERHEAD", 360)
    with pytest.raises(EngineMissingError, match=r"sizeof\(ggml_tensor\) .* is 368 and not 360"):
        observe.check(c)
