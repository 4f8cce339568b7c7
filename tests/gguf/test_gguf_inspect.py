"""What inspect tells of a checkpoint, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from qpipe import errors
from qpipe.gguf import reader, stream, values
from qpipe.gguf.chunks import OutputTensor
from qpipe.gguf.convert import convert
from qpipe.gguf.inspect import inspect
from qpipe.gguf.quantize import quantize
from qpipe.gguf.rows import GGUFRows
from tests.gguf import samples


@pytest.fixture(scope="module")
def q4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("q4")
    convert(samples.MODELS["tinystories-d256"], folder / "f16", outtype="F16")
    (folder / "artifact").mkdir()
    quantize(folder / "f16", folder / "artifact" / "model.gguf", ftype="Q4_0")
    return folder / "artifact" / "model.gguf"


def test_gguf(q4: Path) -> None:
    found = inspect(q4)
    assert json.loads(json.dumps(found)) == found
    assert (found["format"], found["architecture"], found["file_type"]) == (
        "GGUF v3", "llama", "Q4_0",
    )  # fmt: skip
    assert found["parameters"] == 3410176
    assert found["tensor_bytes"] == 1993728
    assert found["file_bytes"] == q4.stat().st_size
    assert found["bits_per_weight"] == pytest.approx(4.6771, abs=1e-4)
    assert found["context_length"] == 256
    assert found["tokenizer"]["model"] == "llama"
    assert found["tokenizer"]["tokens"] == 1024
    assert found["tokenizer"]["bos_token_id"] == 1
    assert found["tokenizer"]["chat_template"] is False
    assert found["provenance"] == {"general.name": "Tinystories D256"}
    assert list(found["types"]) == ["Q4_0", "Q6_K", "F32"]
    assert found["types"]["Q6_K"] == {"tensors": 1, "parameters": 262144, "bytes": 215040}
    assert found["metadata"]["tokenizer.ggml.tokens"]["length"] == 1024
    assert len(found["metadata"]["tokenizer.ggml.tokens"]["head"]) == 8
    assert {"name": "token_embd.weight", "type": "Q6_K", "shape": [256, 1024], "bytes": 215040} in (
        found["tensors"]
    )


def test_folder_with_one_gguf_file(q4: Path, tmp_path: Path) -> None:
    assert inspect(q4.parent) == inspect(q4)
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).write_bytes(q4.read_bytes())
    with pytest.raises(errors.CheckpointError, match=r"holds a.gguf, b.gguf; give the path of one"):
        inspect(tmp_path)


def test_checkpoint() -> None:
    found = inspect(samples.MODELS["qwen2-r"])
    assert json.loads(json.dumps(found)) == found
    assert found["format"] == "safetensors"
    assert found["architecture"] == "Qwen2ForCausalLM"
    assert found["file_type"] == "bfloat16"
    assert (found["parameters"], found["tensor_bytes"]) == (3412224, 6824448)
    assert found["bits_per_weight"] == 16
    assert found["context_length"] == 512
    assert found["tokenizer"]["files"] == ["tokenizer.model", "tokenizer.json"]
    assert found["types"] == {"BF16": {"tensors": 50, "parameters": 3412224, "bytes": 6824448}}
    assert found["provenance"] == {"transformers_version": "5.23.0"}


def test_quantized_checkpoint_does_not_count_packed_weights(tmp_path: Path) -> None:
    folder = samples.copy_model("stories260K", tmp_path / "m")
    samples.edit_config(folder, quantization_config={"quant_method": "gptq", "bits": 4})
    found = inspect(folder)
    assert (found["file_type"], found["parameters"]) == ("gptq", None)
    assert found["bits_per_weight"] is None


def test_one_safetensors_file() -> None:
    found = inspect(samples.MODELS["stories260K"] / "model.safetensors")
    assert (found["parameters"], found["architecture"]) == (260032, None)


def test_foreign_file_without_file_type(q4: Path, tmp_path: Path) -> None:
    file = reader.read(q4)
    metadata = {k: v for k, v in file.metadata.items() if k != "general.file_type"}
    metadata |= {"qpipe.key": values.string("abc"), "general.source.url": values.string("u")}
    outputs = [
        OutputTensor(t.name, t.shape, t.type, GGUFRows(file, t)) for t in file.tensors.values()
    ]
    stream.write([stream.OutputFile(tmp_path / "x.gguf", metadata, outputs)])
    found = inspect(tmp_path / "x.gguf")
    assert found["file_type"] == "Q4_0"
    assert found["provenance"]["qpipe.key"] == "abc"
    assert found["provenance"]["general.source.url"] == "u"


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(errors.MissingPathError, match="no such file or folder"):
        inspect(tmp_path / "nothing")
    with pytest.raises(errors.CheckpointError, match=r"neither a .gguf file nor a config.json"):
        inspect(tmp_path)
    (tmp_path / "x.gguf").write_bytes(b"GGML" + bytes(40))
    with pytest.raises(errors.CheckpointError, match=r"x.gguf: .*starts with b'GGML' instead of"):
        inspect(tmp_path / "x.gguf")
    (tmp_path / "x.gguf").write_bytes(b"GGUF\x00\x00\x00\x03" + bytes(40))
    with pytest.raises(errors.CheckpointError, match=r"versions 2 and 3, little endian"):
        inspect(tmp_path / "x.gguf")
    (tmp_path / "x.gguf").write_bytes(b"GGUF\x03\x00\x00\x00" + bytes(40))
    with pytest.raises(errors.CheckpointError, match="it holds no tensor"):
        inspect(tmp_path / "x.gguf")


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("architectures", {"x": ["LlamaForCausalLM"]}, "a list of names"),
        ("architectures", float("inf"), "a list of names"),
        ("architectures", [["LlamaForCausalLM"]], "a list of names"),
        ("architectures", "LlamaForCausalLM", "a list of names"),
        ("dtype", ["float16"], "the name of a type"),
        ("max_position_embeddings", "256", "a number of tokens"),
        ("max_position_embeddings", 10**400, "a number of tokens"),
    ],
)
def test_fields_of_another_type(tmp_path: Path, field: str, value: object, words: str) -> None:
    folder = samples.copy_model("stories260K", tmp_path / "m")
    samples.edit_config(folder, **{field: value})
    with pytest.raises(errors.CheckpointError, match=rf"config.json: field '{field}' .*{words}"):
        inspect(folder)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": ' * 500 + "1" + "}" * 500, "nested too deeply"),
        (r'{"architectures": ["\ud800"]}', "half of a character"),
    ],
)
def test_a_config_that_is_no_usable_json(tmp_path: Path, text: str, words: str) -> None:
    folder = samples.copy_model("stories260K", tmp_path / "m")
    (folder / "config.json").write_text(text)
    with pytest.raises(
        errors.CheckpointError, match=rf"config.json: not usable as JSON: .*{words}"
    ):
        inspect(folder)


def test_a_vocabulary_that_is_none(tmp_path: Path) -> None:
    folder = samples.copy_model("qwen2-r", tmp_path / "m")
    (folder / "tokenizer.json").write_text('{"model": {"vocab": 7}}')
    with pytest.raises(errors.CheckpointError, match=r"tokenizer.json: model.vocab is 7, no list"):
        inspect(folder)


def with_metadata(q4: Path, path: Path, **more: bytes) -> Path:
    """The file with other fields, ``__`` in their names for a dot."""
    file = reader.read(q4)
    metadata = file.metadata | {name.replace("__", "."): value for name, value in more.items()}
    outputs = [
        OutputTensor(t.name, t.shape, t.type, GGUFRows(file, t)) for t in file.tensors.values()
    ]
    stream.write([stream.OutputFile(path, metadata, outputs)])
    return path


def test_a_context_length_that_is_no_number(q4: Path, tmp_path: Path) -> None:
    path = with_metadata(q4, tmp_path / "x.gguf", llama__context_length=values.string("long"))
    with pytest.raises(errors.CheckpointError, match=r"'llama.context_length' is 'long', no num"):
        inspect(path)


def test_long_values_are_shortened_wherever_they_stand(q4: Path, tmp_path: Path) -> None:
    many = values.strings([b"u"] * 1000)
    found = inspect(with_metadata(q4, tmp_path / "x.gguf", general__source__url=many))
    short = {"type": "array of string", "length": 1000, "head": ["u"] * 8}
    assert found["provenance"]["general.source.url"] == short


def test_needs_neither_numpy_nor_gguf(q4: Path) -> None:
    """Planning and looking must stay light."""
    code = (
        "import sys, pathlib; from qpipe.gguf import mixture;"
        "from qpipe.gguf.inspect import inspect;"
        "inspect(pathlib.Path(sys.argv[1])); inspect(pathlib.Path(sys.argv[2]));"
        "print([m for m in ('numpy', 'gguf', 'yaml') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(q4), str(samples.MODELS["qwen2-r"])]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=samples.ROOT)
    assert done.stdout.strip() == "[]"
