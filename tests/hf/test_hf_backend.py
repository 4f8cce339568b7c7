"""transformers as a backend, on real checkpoints: the same figures as llama.cpp's, and refusals."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from qpipe.errors import CheckpointError, EngineMissingError
from qpipe.evaluators.perplexity import measure
from qpipe.evaluators.text.description import scores_of
from qpipe.evaluators.text.interfaces import Backend
from qpipe.evaluators.text.protocols import protocol
from qpipe.evaluators.text.windows import tokenize
from qpipe.hf.backend import TransformersBackend
from qpipe.hf.load import load, quantization
from qpipe.llamacpp.backend import LlamaCppBackend
from qpipe.results.scores import Score

DATA = Path(__file__).parent.parent / "data"
STORIES = DATA / "models" / "stories260K"
TEXT = (DATA / "texts" / "tinystories_train_head_ascii.txt").read_text()


def _ppl(backend: Backend, *, chunks: int) -> tuple[Score, str]:
    chosen = protocol("llamacpp-512").with_overrides(chunks=chunks)
    tokenized = tokenize(TEXT, backend, chosen, name="")
    return scores_of(tokenized, measure(backend, tokenized).nll), tokenized.about.sha256


@pytest.mark.slow
def test_f32_meets_llama_perplexitys_figure() -> None:
    """tests/data/golden/perplexity.tsv: 4.798706 ± 0.057354 for stories260K in F32."""
    with TransformersBackend(STORIES, threads=2) as backend:
        found, _ = _ppl(backend, chunks=100)
        version = backend.version
    assert found.value == pytest.approx(4.798706, abs=0.0005)
    assert found.stderr == pytest.approx(0.057354, abs=0.00005)
    assert "float32, cpu" in version or "float32, cuda" in version


def test_tokens_and_bos_are_llama_cpps(gguf_of: Callable[[str, str], Path]) -> None:
    with (
        TransformersBackend(STORIES, threads=1) as ours,
        LlamaCppBackend(gguf_of("stories260K", "F32"), threads=1) as theirs,
    ):
        for text in (TEXT[:5000], "Once <s> upon </s>\n\n\ta  time <unk>"):
            assert ours.tokenize(text).tolist() == theirs.tokenize(text).tolist()
        assert (ours.bos, ours.n_vocab, ours.n_ctx_train) == (1, 512, 512)
        assert (theirs.bos, theirs.n_vocab, theirs.n_ctx_train) == (1, 512, 512)


@pytest.mark.slow
def test_a_gguf_file_is_dequantized_where_llama_cpp_is_not_wanted(
    gguf_of: Callable[[str, str], Path], tmp_path: Path
) -> None:
    """llama.cpp rounds activations to 8 bits before it multiplies: near, not equal."""
    shutil.copy(gguf_of("stories260K", "Q8_0"), tmp_path / "model.gguf")
    windows = np.arange(512, dtype=np.int32).reshape(2, 256)
    with TransformersBackend(tmp_path, threads=2) as backend:
        ours = np.concatenate([block for _, _, block in backend.logits(windows, first=0)])
    with LlamaCppBackend(tmp_path / "model.gguf", threads=2) as backend:
        theirs = np.concatenate([block.copy() for _, _, block in backend.logits(windows, first=0)])
    assert ours.shape == theirs.shape == (510, 512)
    assert np.abs(ours - theirs).mean() < 0.05


def test_a_batch_of_windows_is_each_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    windows = np.random.default_rng(1).integers(3, 512, (5, 64)).astype(np.int32)
    found = []
    for batch in (2048, 64):
        monkeypatch.setattr("qpipe.hf.backend._BATCH_TOKENS", batch)
        with TransformersBackend(STORIES, threads=1) as backend:
            blocks = list(backend.logits(windows, first=40))
        assert [(window, start) for window, start, _ in blocks] == [(n, 40) for n in range(5)]
        found.append(np.stack([block for _, _, block in blocks]))
    assert found[0].shape == (5, 23, 512)
    np.testing.assert_allclose(found[0], found[1], atol=1e-3)


@pytest.mark.slow
def test_quantized_checkpoints_are_loaded_as_they_are(tmp_path: Path) -> None:
    """bitsandbytes' NF4: as saved by transformers, worse than the plain model and not broken."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    settings = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")  # type: ignore[no-untyped-call]
    model = AutoModelForCausalLM.from_pretrained(STORIES, quantization_config=settings)
    model.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(STORIES).save_pretrained(tmp_path)
    assert quantization(tmp_path) == "bitsandbytes"
    with TransformersBackend(tmp_path, threads=2) as backend:
        nf4, on = _ppl(backend, chunks=10)
        assert "bitsandbytes" in backend.version
    with TransformersBackend(STORIES, threads=2) as backend:
        plain, also_on = _ppl(backend, chunks=10)
    assert on == also_on
    assert 1.01 < nf4.value / plain.value < 1.2

    # In float32 whatever the CPU: with AVX-512 BF16 bitsandbytes would compute in bfloat16.
    import torch
    from bitsandbytes.functional import dequantize_4bit

    layer = load(tmp_path).model.model.layers[0].mlp.gate_proj
    with torch.no_grad():
        x = torch.randn(3, 64, generator=torch.Generator().manual_seed(0))
        expected = x @ dequantize_4bit(layer.weight.data, layer.weight.quant_state).float().T
        torch.testing.assert_close(layer(x), expected, rtol=1e-5, atol=1e-6)


def _copy(folder: Path) -> Path:
    return Path(shutil.copytree(STORIES, folder / "model"))


def test_missing_weights_are_not_made_up(tmp_path: Path) -> None:
    folder = _copy(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 6}))
    with pytest.raises(CheckpointError, match=r"lacks 9 weights .*model\.layers\.5"):
        load(folder)


def test_damaged_checkpoints_are_refused(tmp_path: Path) -> None:
    folder = _copy(tmp_path)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match="cannot load this checkpoint"):
        load(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json: not usable as JSON"):
        load(folder)


def test_what_reads_a_method_is_named_where_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _copy(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    # A list of modules: without one GPTQModel reads what has plain matrices within layers.
    settings = {"quant_method": "gptq", "bits": 4, "group_size": 32}
    config["quantization_config"] = {**settings, "modules_in_block_to_quantize": [["q_proj"]]}
    (folder / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr(
        "transformers.quantizers.quantizer_gptq.is_optimum_available", lambda: False
    )
    with pytest.raises(EngineMissingError, match=r"method gptq .*pip install .*\[gptq\]"):
        load(folder)
