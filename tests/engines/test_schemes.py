"""FP8, NVFP4, MXFP4, MXFP8 and W4AFP8 by llm-compressor: the bytes are those of compressed-tensors'
own compressors, whatever the files of the source; what cannot be is refused before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from qpipe.engines import _model_free, _presets
from qpipe.engines.autoround_schemes import (
    AutoroundFp8,
    AutoroundFp8Params,
    AutoroundMxfp4Params,
    AutoroundMxfp8Params,
    AutoroundNvfp4Params,
)
from qpipe.engines.llmcompressor import LlmcompressorInt8, LlmcompressorInt8Params
from qpipe.engines.llmcompressor_schemes import (
    LlmcompressorFp8,
    LlmcompressorFp8Params,
    LlmcompressorMxfp4,
    LlmcompressorMxfp4Params,
    LlmcompressorMxfp8,
    LlmcompressorMxfp8Params,
    LlmcompressorNvfp4,
    LlmcompressorNvfp4Params,
    LlmcompressorW4afp8,
    LlmcompressorW4afp8Params,
)
from qpipe.engines.torchao import TorchaoParams
from qpipe.errors import CheckpointError, EngineMissingError, RecipeError
from qpipe.gguf.checkpoint import read_tensors
from qpipe.packed import weight_checks
from qpipe.stages.base import Order, Work, keyed
from tests.engines.running import MODEL
from tests.packed.checkpoints import checkpoint

FILES: list[tuple[Any, Any]] = [
    (LlmcompressorFp8, LlmcompressorFp8Params()),
    (LlmcompressorFp8, LlmcompressorFp8Params(scheme="block")),
    (LlmcompressorNvfp4, LlmcompressorNvfp4Params()),
    (LlmcompressorMxfp4, LlmcompressorMxfp4Params(scheme="w4a4")),
    (LlmcompressorMxfp8, LlmcompressorMxfp8Params()),
    (LlmcompressorW4afp8, LlmcompressorW4afp8Params()),
]
FORMATS = {"W4AFP8": "pack-quantized"}
# Matrices whose numbers NVFP4 scales together, as vLLM computes them.
TOGETHER = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))


def made(engine: Any, params: Any, out: Path) -> Path:
    """What the stage makes of tinystories-d256."""
    out.mkdir(parents=True)
    work = Work({"model": MODEL}, out, 1, lambda done, total, unit: None, {})
    engine.refuse(params, work)
    engine().run(params, work)
    return out


def packed_by_compressed_tensors(weights: dict[str, Any], preset: str) -> dict[str, Any]:
    """The matrices of a model by compressed-tensors alone: scales from the largest weights by its
    `calculate_qparams`, and its compressor."""
    import torch
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.compressors.format import infer_module_format
    from compressed_tensors.quantization import preset_name_to_scheme
    from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam

    scheme = preset_name_to_scheme(preset, ["Linear"])
    name = FORMATS.get(preset) or infer_module_format(torch.nn.Linear, scheme).value
    compressor, args = BaseCompressor.get_value_from_registry(name), scheme.weights
    made: dict[str, Any] = {}
    for module, weight in weights.items():
        stem, _, last = module.rpartition(".")
        state = {"weight": weight}
        scales: dict[str, Any] = {}
        if args.strategy == "tensor_group":
            group = next((g for g in TOGETHER if last in g), (last,))
            largest = torch.stack([weights[f"{stem}.{each}"].abs().max() for each in group]).max()
            whole = generate_gparam(-largest.reshape(1), largest.reshape(1))
            scales = {"global_scale": whole}
            state["weight_global_scale"] = whole
        low, high = ends(weight, args)
        state["weight_scale"], _ = calculate_qparams(low, high, args, **scales)
        for key, tensor in compressor.compress(state, scheme).items():
            made[f"{module}.{key}"] = tensor
    return made


def ends(weight: Any, args: Any) -> tuple[Any, Any]:
    """The smallest and largest weights that share a scale."""
    import torch

    rows, columns = weight.shape
    if args.strategy == "channel":
        return weight.amin(1, keepdim=True), weight.amax(1, keepdim=True)
    if args.strategy == "block":
        high, wide = args.block_structure
        padded = torch.nn.functional.pad(weight, (0, -columns % wide, 0, -rows % high))
        blocks = padded.reshape(-(-rows // high), high, -(-columns // wide), wide)
        return blocks.amin((1, 3)), blocks.amax((1, 3))
    groups = weight.reshape(rows, -1, args.group_size)
    return groups.amin(-1), groups.amax(-1)


@pytest.mark.slow
def test_bytes_are_those_of_compressed_tensors(tmp_path: Path) -> None:
    """However small the files are that are written, and with one for a module."""
    import torch
    from safetensors.torch import load_file

    source = load_file(MODEL / "model.safetensors")
    weights = {
        name.removesuffix(".weight"): tensor
        for name, tensor in source.items()
        if tensor.ndim == 2 and "embed" not in name
    }
    for number, (engine, params) in enumerate(FILES):
        out = made(engine, params, tmp_path / str(number))
        found = load_file(out / "model.safetensors")
        wanted = packed_by_compressed_tensors(weights, params.preset)
        plain = {n: t for n, t in source.items() if n.removesuffix(".weight") not in weights}
        assert found.keys() == wanted.keys() | plain.keys(), params
        for name, tensor in {**wanted, **plain}.items():
            assert found[name].dtype == tensor.dtype, (params, name)
            same = torch.equal(found[name].view(torch.uint8), tensor.contiguous().view(torch.uint8))
            assert same, (params, name)
        config = json.loads((out / "config.json").read_bytes())["quantization_config"]
        assert config["ignore"] == ["lm_head", "model.embed_tokens"]
        assert config["format"] == config["config_groups"]["group_0"]["format"]


@pytest.mark.slow
def test_files_of_the_source_and_of_the_result_make_no_difference(tmp_path: Path) -> None:
    """A source in several files, cut between matrices that share a scale, into many files."""
    from compressed_tensors.quantization import QuantizationConfig, preset_name_to_scheme
    from llmcompressor.entrypoints.model_free.validate import validate_config
    from safetensors.torch import load_file, save_file

    tensors = load_file(MODEL / "model.safetensors")
    names, cut = sorted(tensors), tmp_path / "cut"
    cut.mkdir()
    places = {}
    for number in range(5):
        file = f"model-{number + 1:05d}-of-00005.safetensors"
        save_file({name: tensors[name] for name in names[number::5]}, cut / file)
        places.update(dict.fromkeys(names[number::5], file))
    (cut / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    (cut / "config.json").write_bytes((MODEL / "config.json").read_bytes())
    wanted = [
        n.removesuffix(".weight") for n, t in tensors.items() if ".layers." in n and t.ndim > 1
    ]
    results = []
    for source, full in ((MODEL, 1 << 40), (cut, 300_000)):
        out = tmp_path / f"made-{full}"
        out.mkdir()
        (out / "config.json").write_bytes((MODEL / "config.json").read_bytes())
        scheme = preset_name_to_scheme("NVFP4A16", ["Linear"])
        config = QuantizationConfig(config_groups={"group_0": scheme}, ignore=["lm_head"])
        _model_free.quantize(
            read_tensors(source), wanted, validate_config(config, None, ()), out,
            device="cpu", full=full,
        )  # fmt: skip
        stored = read_tensors(out).values()
        with_bytes = {t.name: t.path.read_bytes()[t.offset : t.offset + t.nbytes] for t in stored}
        results.append((len([*out.glob("*.safetensors")]), with_bytes))
    assert [count for count, _ in results] == [1, 9]
    assert results[0][1] == results[1][1]


NAME = "model.layers.0.self_attn.q_proj"
FP8 = (LlmcompressorFp8, LlmcompressorFp8Params)
NVFP4 = (LlmcompressorNvfp4, LlmcompressorNvfp4Params)
MXFP8 = (LlmcompressorMxfp8, LlmcompressorMxfp8Params)


def refuse(way: tuple[Any, Any], source: Path, *, text: bool = False, **params: Any) -> None:
    engine, model = way
    inputs = {"model": source, **({"calibration": source} if text else {})}
    engine.refuse(model(**params), Order(inputs))


def model(folder: Path, *shape: int, dtype: Any = np.uint16, name: str = NAME) -> Path:
    return checkpoint(folder, {f"{name}.weight": np.zeros(shape, dtype)})


@pytest.mark.parametrize(
    ("way", "params", "columns", "told"),
    [
        (FP8, {"scheme": "block"}, 192, r"q_proj have 192 weights, and each 128 share"),
        (NVFP4, {}, 72, r"have 72 weights, and each 16 share .*modules=\{q_proj: skip\}"),
        (MXFP8, {}, 80, r"quantize=mxfp8 quantize\.scheme=w8a8: .* 80 weights, and each 32"),
    ],
)
def test_rows_that_groups_do_not_fill(
    tmp_path: Path, way: Any, params: dict[str, Any], columns: int, told: str
) -> None:
    with pytest.raises(RecipeError, match=told):
        refuse(way, model(tmp_path, 64, columns), **params)
    refuse(FP8, model(tmp_path, 64, columns))


def test_what_is_no_float(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"q_proj\.weight' is I8, and .*BF16, F16, F32"):
        refuse(FP8, model(tmp_path, 64, 128, dtype=np.int8))


def test_experts_that_transformers_cannot_read_back(tmp_path: Path) -> None:
    source = model(tmp_path, 64, 128, name="model.layers.0.mlp.experts.0.up_proj")
    refuse(FP8, source)
    ways: list[tuple[Any, dict[str, Any]]] = [(FP8, {"scheme": "block"}), (NVFP4, {}), (MXFP8, {})]
    for way, params in ways:
        with pytest.raises(RecipeError, match=r"1 of 1 matrices.*modules=\{experts: skip\}"):
            refuse(way, source, **params)


def test_a_calibration_that_nothing_looks_at_or_that_is_missing(tmp_path: Path) -> None:
    source = model(tmp_path, 64, 128)
    with pytest.raises(RecipeError, match=r"scheme=dynamic looks at no text; take it out"):
        refuse(FP8, source, text=True)
    ways: list[tuple[Any, dict[str, Any]]] = [
        (FP8, {"scheme": "static"}), (MXFP8, {"kv_cache": "fp8"}),
    ]  # fmt: skip
    for way, params in ways:
        with pytest.raises(RecipeError, match="takes ranges from a calibration text"):
            refuse(way, source, **params)
        refuse(way, source, text=True, **params)


def test_a_scheme_that_the_installed_version_does_not_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_presets, "names", lambda path: frozenset({"FP8", "FP8_DYNAMIC"}))
    refuse(FP8, model(tmp_path, 64, 128))
    with pytest.raises(EngineMissingError, match=r"has no scheme NVFP4A16, only FP8, FP8_DYNAMIC"):
        refuse(NVFP4, model(tmp_path, 64, 128))


def test_names_are_read_from_the_installed_package() -> None:
    from compressed_tensors.quantization import quant_scheme

    assert _presets.names(Path(quant_scheme.__file__)) == quant_scheme.PRESET_SCHEMES.keys()
    for _, params in FILES:
        assert {*params.PRESETS.values()} <= quant_scheme.PRESET_SCHEMES.keys()


@pytest.mark.parametrize(
    ("spelled", "ours"), [("FP8_DYNAMIC", "dynamic"), ("fp8-block", "block"), ("FP8", "static")]
)
def test_names_of_schemes_elsewhere(spelled: str, ours: str) -> None:
    assert LlmcompressorFp8Params.model_validate({"scheme": spelled}).scheme == ours


NUMBERS = {"BF16": np.uint16, "F16": np.float16, "F32": np.float32}


def weights(kind: str, *odd: float) -> Any:
    w = np.random.default_rng(0).normal(size=(8, 32)).astype(np.float32) * 0.02
    w[3, : len(odd)] = odd
    return (
        (w.view(np.uint32) >> 16).astype(np.uint16) if kind == "BF16" else w.astype(NUMBERS[kind])
    )


@pytest.mark.parametrize("kind", sorted(NUMBERS))
def test_weights_that_are_no_numbers(tmp_path: Path, kind: str) -> None:
    def check(*odd: float) -> None:
        source = checkpoint(tmp_path, {f"{NAME}.weight": weights(kind, *odd)})
        weight_checks.refuse_unscalable(read_tensors(source).values())

    check(0.0, -0.0)
    for odd, told in ((float("nan"), "NaN"), (-float("inf"), "an infinite number")):
        with pytest.raises(CheckpointError, match=rf"q_proj\.weight' holds {told}"):
            check(odd)


def test_weights_whose_scales_half_precision_cannot_hold(tmp_path: Path) -> None:
    for kind in ("BF16", "F16"):
        small = weights("F32") * np.float32(1e-4)
        stored = (small.view(np.uint32) >> 16).astype(np.uint16) if kind == "BF16" else small
        array = stored if kind == "BF16" else small.astype(np.float16)
        tensors = read_tensors(checkpoint(tmp_path, {f"{NAME}.weight": array})).values()
        if kind == "BF16":
            weight_checks.refuse_unscalable(tensors)
            continue
        with pytest.raises(CheckpointError, match=r"largest weight is .*dtype=bf16"):
            weight_checks.refuse_unscalable(tensors)
    zeros = read_tensors(checkpoint(tmp_path, {f"{NAME}.weight": np.zeros((4, 32), np.float16)}))
    weight_checks.refuse_unscalable(zeros.values())


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")], ids=str)
def test_scales_of_activations_that_are_none(tmp_path: Path, scale: float) -> None:
    good = {f"{NAME}.input_scale": np.ones(1, np.float32)}
    weight_checks.refuse_scales(checkpoint(tmp_path, good))
    wrong = {**good, "model.layers.0.self_attn.k_scale": np.array([1, scale], np.float32)}
    with pytest.raises(CheckpointError, match=r"k_scale' is .*by which nothing can be scaled"):
        weight_checks.refuse_scales(checkpoint(tmp_path, wrong))


def test_smoothing_of_what_is_not_rounded() -> None:
    with pytest.raises(ValidationError, match=r"smoothing_strength=0\.8: .*quantize\.scheme=w8a8"):
        LlmcompressorInt8Params(smoothing_strength=0.8)
    with pytest.raises(ValidationError, match=r"quantize\.engine=llmcompressor"):
        TorchaoParams(scheme="w8a8", smoothing_strength=0.8)
    assert "smoothing_strength" not in keyed(LlmcompressorInt8Params())


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"model_type": "gemma2"}, "not of gemma2"),
        ({"model_type": "gemma3_text"}, "not of gemma3_text"),
        ({"model_type": "phi"}, "not of phi"),
        ({"model_type": "stablelm", "use_parallel_residual": True}, "use_parallel_residual=true"),
    ],
)
def test_smoothing_of_what_would_be_another_model(fields: dict[str, Any], part: str) -> None:
    smoothed = LlmcompressorInt8Params(scheme="w8a8", smoothing_strength=0.8)
    with pytest.raises(RecipeError, match=rf"smoothing_strength=0\.8: .*{part}"):
        LlmcompressorInt8.allow_config(smoothed, fields)
    LlmcompressorInt8.allow_config(LlmcompressorInt8Params(scheme="w8a8"), fields)
    LlmcompressorInt8.allow_config(smoothed, {"model_type": "stablelm"})


AUTOROUND: list[tuple[Any, dict[str, Any], str]] = [
    (AutoroundFp8Params, {"scheme": "dynamic"}, r"writes fp8 as block or static alone"),
    (
        AutoroundNvfp4Params,
        {"scheme": "w4a16"},
        r"alone; set quantize\.scheme=w4a4",
    ),
    (AutoroundMxfp4Params, {"scheme": "w4a16"}, r"writes mxfp4 as w4a4 alone"),
    (AutoroundMxfp8Params, {"scheme": "w8a16"}, r"or quantize\.engine=llmcompressor"),
    (AutoroundMxfp8Params, {"kv_cache": "fp8"}, r"kv_cache=fp8: .*llmcompressor"),
    (LlmcompressorFp8Params, {"iters": 8}, r"iters=8: .*quantize\.engine=auto-round"),
]


@pytest.mark.parametrize(("params", "asked", "told"), AUTOROUND)
def test_schemes_that_autoround_does_not_write(
    params: Any, asked: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValidationError, match=told):
        params.model_validate(asked)
    assert {"iters", "seed"}.isdisjoint(keyed(LlmcompressorFp8Params()))
    assert AutoroundMxfp8Params.model_validate({"iters": None}).iters == 200


def test_sources_that_autoround_would_change(tmp_path: Path) -> None:
    way = (AutoroundFp8, AutoroundFp8Params)
    refuse(way, model(tmp_path, 64, 128), text=True, scheme="static")
    with pytest.raises(RecipeError, match=r"weight is F16, .*quantize\.dtype=bf16"):
        refuse(way, model(tmp_path, 64, 128, dtype=np.float16), text=True, scheme="static")
    with pytest.raises(RecipeError, match=r"is 64 x 128, .*sides that 128 divides"):
        refuse(way, model(tmp_path, 64, 128), text=True, scheme="block")
    experts = model(tmp_path, 64, 128, name="model.layers.0.mlp.experts.0.up_proj")
    with pytest.raises(RecipeError, match=r"1 of 1 matrices.*modules=\{experts: skip\}"):
        refuse(way, experts, text=True, scheme="static")
