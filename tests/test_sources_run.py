"""Whole runs on sources of unusual form: models in parts, GGUF files that are quantized already,
folders of them, artifacts; and what is said of folders that are none."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from qpipe.gguf import ggml, quantize, stream, values
from qpipe.gguf.chunks import OutputTensor
from qpipe.gguf.types import GGMLType
from tests.cli import Answer, by_stage, called
from tests.gguf.test_gguf_split import divide

pytestmark = pytest.mark.slow

STORIES = Path(__file__).parent / "data" / "models" / "stories260K"
GgufOf = Callable[[str, str], Path]
SHORT = ("evaluate.n_ctx=64", "evaluate.chunks=2")


def run(folder: Path, source: str | Path, *more: str) -> Answer:
    asked = ("local", f"model.source={source}", "executor=inline")
    return called("run", *asked, *more, "--json", cwd=folder)


def rows(answer: Answer) -> list[dict[str, Any]]:
    assert answer.code == 0, answer
    found: list[dict[str, Any]] = json.loads(answer.stdout)["rows"]
    return found


@pytest.mark.parametrize("by", ["part", "folder"])
def test_a_model_in_parts(tmp_path: Path, gguf_of: GgufOf, by: str) -> None:
    whole = gguf_of("stories260K", "F16")
    parts = divide(whole, tmp_path / "parts", (7, len(quantize.read(whole).outputs) - 7))
    source = parts[0] if by == "part" else tmp_path / "parts"
    (same, made) = rows(run(tmp_path, source, "quantize.type=Q8_0", *SHORT))
    assert (same["format"], made["format"]) == ("F16", "Q8_0")
    assert Path(same["file"]).read_bytes() == whole.read_bytes()
    assert made["ppl"] == pytest.approx(same["ppl"], rel=0.05)


@dataclass(frozen=True)
class Packed:
    """Rows of a type that nothing here writes, for a file."""

    data: npt.NDArray[np.uint8]
    type: GGMLType
    origin: str = "a test"

    def raw(self, start: int, stop: int) -> npt.NDArray[np.uint8]:
        return self.data[start:stop]

    def floats(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        raise NotImplementedError


def packed(whole: Path, out: Path, kind: GGMLType, number: int) -> None:
    """The file with its large matrices as ggml packs them."""
    given = quantize.read(whole)
    outputs = []
    for output in given.outputs:
        if len(output.shape) == 2 and kind.fits(output.shape[1]) and "token" not in output.name:
            data = ggml.quantize(output.rows.floats(0, output.shape[0]), kind)
            outputs.append(OutputTensor(output.name, output.shape, kind, Packed(data, kind)))
        else:
            outputs.append(output)
    metadata = {**given.metadata, "general.file_type": values.u32(number)}
    stream.write([stream.OutputFile(out, metadata, outputs)])


@pytest.mark.parametrize(("kind", "number"), [(GGMLType.Q2_0, 41), (GGMLType.NVFP4, 39)])
def test_a_file_that_is_quantized_already_is_measured(
    tmp_path: Path, gguf_of: GgufOf, kind: GGMLType, number: int
) -> None:
    """Of types too that only llama.cpp computes."""
    packed(gguf_of("stories260K", "F16"), tmp_path / "m.gguf", kind, number)
    (row,) = rows(run(tmp_path, "m.gguf", "quantize=none", *SHORT))
    assert row["format"] == kind.name
    assert row["bits_per_weight"] < 16
    assert 1 < row["ppl"] < 1e6
    shown = json.loads(called("inspect", "m.gguf", "--json", cwd=tmp_path).stdout)
    assert shown["file_type"] == kind.name
    assert shown["types"][kind.name]["tensors"] > 0


def test_quantizing_twice_is_still_refused(tmp_path: Path, gguf_of: GgufOf) -> None:
    source = gguf_of("stories260K", "Q8_0")
    answer = run(tmp_path, source, "quantize.type=Q4_0", "evaluate=none")
    assert answer.code == 1
    assert "quantizing twice loses more" in answer.stderr


def test_an_artifact_is_a_source(tmp_path: Path) -> None:
    first = run(tmp_path, STORIES, "quantize.type=Q8_0", "evaluate=none")
    made = rows(first)[-1]
    nodes = by_stage(json.loads(first.stdout)["nodes"])
    (row,) = rows(run(tmp_path, nodes["quantize"]["artifact"], "quantize=none", "evaluate=none"))
    assert (row["format"], row["size_bytes"]) == ("Q8_0", made["size_bytes"])
    again = run(tmp_path, nodes["download"]["artifact"], "quantize.type=Q8_0", "evaluate=none")
    assert rows(again)[-1]["format"] == "Q8_0"
    names = set()
    for answer in (first, again):
        shown = called("inspect", rows(answer)[-1]["file"], "--json", cwd=tmp_path).stdout
        names.add(json.loads(shown)["provenance"]["general.name"])
    assert len(names) == 1, "it is called what it was called at first"


def test_messages_name_the_users_folder(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "model.safetensors"):
        (folder / name).write_bytes((STORIES / name).read_bytes())
    config = json.loads((STORIES / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 9}))
    for verb in ("run", "plan"):
        answer = called(verb, "local", "model.source=mine", "evaluate=none", cwd=tmp_path)
        told = answer.stdout + answer.stderr
        assert f"{folder}: tensor 'model.layers.5" in told, told
        assert "artifacts/" not in told.split("report:")[0].replace("outputs/store/artifacts", "")
        assert str(tmp_path / "outputs" / "store") not in told.split("report:")[0]
