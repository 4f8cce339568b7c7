"""Files that llama.cpp cannot load, tried without loading them in this process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest

from qpipe import errors
from qpipe.gguf import convert, stream, values
from qpipe.gguf.file_plan import FilePlan
from qpipe.llamacpp.backend import LlamaCppBackend
from qpipe.llamacpp.c_api import WHEEL
from qpipe.llamacpp.opening import require_loadable
from tests.gguf import samples


@pytest.fixture
def prepared() -> FilePlan:
    return convert.prepare(samples.MODELS["stories-tok105"], outtype="F16")


def header(prepared: FilePlan, out: Path, **changes: bytes) -> Path:
    """The file without its weights, as it lies there before they are written."""
    metadata = {**prepared.metadata, **{k.replace("_0_", "."): v for k, v in changes.items()}}
    out.write_bytes(stream.header(metadata, prepared.outputs))
    with out.open("r+b") as file:
        file.truncate(stream.size(metadata, prepared.outputs))
    return out


def test_the_header_alone_is_loaded(prepared: FilePlan, tmp_path: Path) -> None:
    assert require_loadable(header(prepared, tmp_path / "m.gguf")) is None


def test_a_tokenizer_that_llama_cpp_has_not(prepared: FilePlan, tmp_path: Path) -> None:
    changes = {
        "tokenizer_0_ggml_0_model": values.string("gpt2"),
        "tokenizer_0_ggml_0_pre": values.string("gpt4o"),
        "tokenizer_0_ggml_0_merges": values.strings([]),
    }
    with pytest.raises(errors.CheckpointError, match=r"cannot load .*pre-tokenizer type: 'gpt4o'"):
        require_loadable(header(prepared, tmp_path / "m.gguf", **changes))


def test_a_missing_tensor(prepared: FilePlan, tmp_path: Path) -> None:
    lacking = replace(
        prepared, outputs=[o for o in prepared.outputs if o.name != "blk.1.attn_k.weight"]
    )
    with pytest.raises(errors.CheckpointError, match=r"'blk.1.attn_k.weight' not found.*converter"):
        require_loadable(header(lacking, tmp_path / "m.gguf"))


def test_where_llama_cpp_ends_its_process(prepared: FilePlan, tmp_path: Path) -> None:
    """Experts in use where there are none: an assertion of load_hparams."""
    file = header(prepared, tmp_path / "m.gguf", llama_0_expert_used_count=values.u32(3))
    with pytest.raises(
        errors.CheckpointError, match=r"GGML_ASSERT\(n_expert_used_max <= hparams.n_expert"
    ):
        require_loadable(file)


def test_an_architecture_that_this_llama_cpp_has_not(prepared: FilePlan, tmp_path: Path) -> None:
    changes = {"general_0_architecture": values.string("of-next-year")}
    note = require_loadable(header(prepared, tmp_path / "m.gguf", **changes))
    assert note is not None and "does not know the architecture 'of-next-year'" in note


def test_where_there_is_no_llama_cpp(
    prepared: FilePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / WHEEL).mkdir()
    (tmp_path / WHEEL / "__init__.py").touch()  # another package under that name
    path = header(prepared, tmp_path / "m.gguf")  # its folder is where Python looks first
    note = require_loadable(path)
    assert note is not None and note.startswith("not opened by llama.cpp to try it: ")


def test_weights_at_an_odd_place_are_read_in_place_of_mapped(tmp_path: Path) -> None:
    """general.alignment=8: llama.cpp maps such a file only if its header happens to fit."""
    convert.convert(samples.MODELS["stories-tok105"], tmp_path / "m.gguf", outtype="F32")
    odd = realigned(tmp_path / "m.gguf", tmp_path / "odd.gguf", alignment=8)
    assert gguf.GGUFReader(odd).data_offset % 32 != 0
    assert require_loadable(odd) is None
    assert np.array_equal(logits(odd), logits(tmp_path / "m.gguf"))


def realigned(path: Path, out: Path, *, alignment: int) -> Path:
    """A copy with another alignment, whose weights begin at a multiple of that alone."""
    given = gguf.GGUFReader(path)
    writer = gguf.GGUFWriter(out, "llama")
    for field in given.fields.values():
        if not field.name.startswith("GGUF.") and field.name != "general.architecture":
            kind, *sub = field.types
            writer.add_key_value(field.name, field.contents(), kind, sub[-1] if sub else None)
    writer.add_custom_alignment(alignment)
    writer.add_string("pad", "x" * 3)
    for tensor in given.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out


def logits(path: Path) -> np.typing.NDArray[np.float32]:
    with LlamaCppBackend(path, threads=1) as backend:
        window = np.array([[1, 40, 50, 60]], np.int32)
        return np.concatenate([part[2].copy() for part in backend.logits(window, first=0)])
