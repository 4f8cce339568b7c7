"""EXL2: what exllamav2 writes becomes a checkpoint, and what it computes a measurement."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qpipe.engines.exllamav2 import Exl2, ExllamaParams
from qpipe.environments import call as calling
from qpipe.environments import child_runtime
from qpipe.environments.call import Call
from qpipe.environments.shipped import EXLLAMAV2
from qpipe.errors import CheckpointError, DataError
from qpipe.evaluators.perplexity_exllamav2 import ExllamaPerplexity, ExllamaPerplexityParams
from qpipe.evaluators.text.token_scores import token_nll
from qpipe.evaluators.text.windows import About, Tokenized, Windows, load
from qpipe.gguf.checkpoint import open_checkpoint
from qpipe.packed import exl2_files, structure
from qpipe.recipe.draft_builder import draft
from qpipe.stages.base import Work
from tests.packed import exl2
from tests.recipe.composing import single

MODEL = Path(__file__).parents[2] / "qpipe" / "data" / "tinystories-d256"
WEIGHTS = 3_410_176  # the model's own, tied to its head


def work(folder: Path, inputs: Mapping[str, Path]) -> Work:
    out = folder / "out"
    out.mkdir()
    return Work(inputs, origins={}, key="k", out=out, threads=1, progress=lambda *_: None, where={})


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The model as an artifact has it: in two files with their index, and a manifest."""
    from safetensors.numpy import save_file

    folder = tmp_path / "source"
    folder.mkdir()
    names = sorted(open_checkpoint(MODEL).tensors)
    tensors = open_checkpoint(MODEL).tensors
    for at in range(2):
        arrays = {name: np.zeros(tensors[name].shape, np.float16) for name in names[at::2]}
        save_file(arrays, folder / f"model-0000{at + 1}-of-00002.safetensors")
    index = {name: f"model-0000{at % 2 + 1}-of-00002.safetensors" for at, name in enumerate(names)}
    text = json.dumps({"metadata": {}, "weight_map": index})
    (folder / "model.safetensors.index.json").write_text(text)
    (folder / "manifest.json").write_text("{}")
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((MODEL / name).read_bytes())
    config = json.loads((MODEL / "config.json").read_text())
    config["rope_parameters"]["rope_theta"] = 70_000.0
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("files", [1, 3])
def test_from_what_it_writes_to_a_checkpoint(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: int
) -> None:
    calibration = tmp_path / "calibration"
    calibration.mkdir()
    (calibration / "calibration.json").write_text(json.dumps({"samples": [[1, 2, 3]]}))

    def convert(environment: object, request: Call) -> dict[str, Any]:
        assert request.device == "cuda"
        exl2.written(source, request.out, files=files)
        return {"tokens": 3, "tools": {"exllamav2": "0.3.2"}}

    monkeypatch.setattr(calling, "call", convert)
    own = work(tmp_path, {"model": source, "calibration": calibration})
    facts = Exl2().run(ExllamaParams(bits=4.0, head_bits=4), own)
    assert facts.format == "EXL2-4.0bpw-h4"
    assert facts.weights == WEIGHTS
    names = {path.name for path in own.out.iterdir()}
    weights = {name for name in names if name.endswith(".safetensors")}
    assert weights == (
        {"model.safetensors"}
        if files == 1
        else {f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)}
    )
    others = {"config.json", "tokenizer.json", "tokenizer_config.json"}
    assert names - weights == others | ({"model.safetensors.index.json"} if files > 1 else set())
    config = json.loads((own.out / "config.json").read_text())
    # exllamav2 0.3.2 knows rope_theta alone, others rope_parameters.
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] == 70_000.0
    assert config["quantization_config"]["quant_method"] == "exl2"
    assert structure.read(own.out).label == "EXL2-4.0bpw-h4"


def test_a_file_that_is_missing(source: Path, tmp_path: Path) -> None:
    out = exl2.written(source, tmp_path / "out", files=3)
    (out / "output-00002-of-00003.safetensors").unlink()
    with pytest.raises(CheckpointError, match="wrote 2 of 3 files of weights"):
        exl2_files.settle(out)
    for path in out.glob("*.safetensors"):
        path.unlink()
    with pytest.raises(CheckpointError, match="wrote 0 of 1 files of weights"):
        exl2_files.settle(out)


def test_rows_that_are_filled_up(tmp_path: Path) -> None:
    """A vocabulary that 32 does not divide, which nothing in the packed head tells."""
    from safetensors.numpy import save_file

    folder, out = tmp_path / "source", tmp_path / "out"
    folder.mkdir()
    out.mkdir()
    (folder / "config.json").write_text("{}")
    save_file({"lm_head.weight": np.zeros((41, 64), np.float16)}, folder / "model.safetensors")
    for rows, fits in ((41, True), (65, False)):
        save_file(exl2.module("lm_head", rows, 64), out / "model.safetensors")
        quantization = {"quant_method": "exl2", "bits": 4.0, "head_bits": 4}
        (out / "config.json").write_text(json.dumps({"quantization_config": quantization}))
        if fits:
            structure.compare(structure.read(out), folder)
        else:
            with pytest.raises(CheckpointError, match=r"\[96, 64\], and \[41, 64\]"):
                structure.compare(structure.read(out), folder)


def test_it_is_measured_by_exllamav2_and_its_reference_by_transformers() -> None:
    (job,) = draft([single("local", f"model.source={MODEL}", "quantize=exl2")])["jobs"]
    stages = {stage["name"]: stage for stage in job["stages"]}
    backends = [stages[f"perplexity{of}"]["params"]["backend"] for of in ("", "_reference")]
    assert backends == ["exllamav2", "transformers"]
    assert stages["perplexity"]["resources"]["gpus"] == 1


# A model of four tokens, whose logits hang on the token before alone; filled up to 32.
LOGITS = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)


class StandInConfig:
    def __init__(self, folder: str) -> None:
        assert (Path(folder) / "config.json").is_file()
        self.max_seq_len, self.max_input_len, self.max_attention_size = 4, 2, 4
        self.vocab_size = 4


class StandInModel:
    def __init__(self, config: StandInConfig) -> None:
        self.longest = min(config.max_seq_len, config.max_input_len)

    def load(self) -> None:
        """Nothing to load."""

    def forward(self, ids: Any) -> Any:
        import torch

        assert ids.shape[1] <= self.longest
        filled = np.pad(LOGITS, ((0, 0), (0, 28)), constant_values=9.0)
        return torch.from_numpy(filled)[ids].half()


@pytest.fixture
def exllamav2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of that name, where the script would run; nothing is compiled yet."""
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "extensions"))
    module = types.ModuleType("exllamav2")
    module.__dict__.update(ExLlamaV2=StandInModel, ExLlamaV2Config=StandInConfig)
    monkeypatch.setitem(sys.modules, "exllamav2", module)

    def run_here(environment: object, request: Call) -> dict[str, Any]:
        record = {
            "script": str(EXLLAMAV2.script), "params": dict(request.params),
            "inputs": {role: str(path) for role, path in request.inputs.items()},
            "out": str(request.out), "partial": None, "threads": 1, "device": "cpu",
            "tools": ["torch"],
        }  # fmt: skip
        result = child_runtime.perform(record, request.progress, request.note)
        if "error" in result:
            raise DataError(result["error"]["message"])
        return {**result["facts"], "tools": {**result["tools"], "exllamav2": "0.3.2"}}

    monkeypatch.setattr(calling, "call", run_here)


def tokens(folder: Path, rows: list[list[int]]) -> Path:
    folder.mkdir()
    spans = np.array([[0, 2], [1, 3]], np.int32)
    windows = Windows(np.array(rows, np.int32), spans, 2, 8)
    about = About("a.txt", "llamacpp-512", 1, "token", None, 4, 2, 8, windows.sha256)
    Tokenized(windows, about).save(folder)
    return folder


@pytest.mark.usefixtures("exllamav2")
def test_a_measurement(tmp_path: Path) -> None:
    folder = tokens(tmp_path / "tokens", [[0, 1, 2, 3], [3, 3, 0, 2]])
    noted: list[str] = []
    own = work(tmp_path, {"model": MODEL, "tokens": folder})
    own = replace(own, note=noted.append)
    found = ExllamaPerplexity().run(ExllamaPerplexityParams(), own)
    windows = load(folder).windows
    half = LOGITS.astype(np.float16).astype(np.float32)
    expected = np.concatenate([
        token_nll(half[windows.tokens[at, first:end]], windows.targets(at))
        for at, (first, end) in enumerate(windows.spans)
    ])  # fmt: skip
    (score,) = found.scores
    assert score.value == pytest.approx(np.exp(expected.mean()), rel=1e-6)
    assert found.by is not None
    assert found.by.startswith("exllamav2 0.3.2 (torch 2.")
    assert found.by.endswith(", float16, cuda)")
    assert noted == ["exllamav2 compiles its CUDA code, once: some minutes"]
    assert {path.name for path in own.out.iterdir()} == {"result.json", "windows.json"}


@pytest.mark.usefixtures("exllamav2")
def test_tokens_of_another_model(tmp_path: Path) -> None:
    folder = tokens(tmp_path / "tokens", [[0, 1, 2, 4], [0, 0, 0, 0]])
    own = work(tmp_path, {"model": MODEL, "tokens": folder})
    with pytest.raises(DataError, match="go from 0 to 4, and this model has a vocabulary of 4"):
        ExllamaPerplexity().run(ExllamaPerplexityParams(), own)
