"""Every field of config.json: what llama.cpp computes is what transformers does, or it is said."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from qpipe import errors
from qpipe.gguf import arch
from qpipe.gguf.config import Config
from tests.gguf import samples
from tests.gguf.config_edits import EDITS, SHAPING
from tests.gguf.family_edits import FAMILIES
from tests.gguf.logits import (
    MODELS,
    Bench,
    edited,
    fields_of,
)
from tests.gguf.open_edits import OPEN

pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.xdist_group("config-fields")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    yield Bench(tmp_path_factory.mktemp("bench"))


def names(edits: Mapping[str, Any]) -> Iterator[str]:
    """The fields of ``edits``, inner ones too."""
    for name, value in edits.items():
        yield name
        yield from names(value) if isinstance(value, dict) else ()
        yield "rope_type" if name == "type" else name


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_each_edit_is_computed_alike_or_named(model: str, bench: Bench) -> None:
    """Refused with the name of a field, noted, or the same logits as by transformers."""
    wrong = []
    for wanted, edits in (EDITS | FAMILIES | OPEN)[model]:
        shaped = {k: v for k, v in edits.items() if k in SHAPING} if wanted != "refused" else {}
        verdict = bench.verdict(model, edits, shaped=shaped)
        named = any(name in verdict.text for name in names(edits))
        if verdict.kind != wanted or (wanted == "refused" and not named):
            wrong.append((edits, wanted, verdict))
    assert wrong == []


# Classes of transformers' files that are no part of a text model.
OTHERS = (
    r"^class \w*(Vision|Audio|Projector|Embedder|ForConditionalGeneration|Gemma3Config|Gemma3Model"
    r"|Gemma3nConfig|Gemma3nModel|Gemma4Config|Gemma4Model|Llama4Config|Qwen3_5Config"
    r"|Qwen3_5Model|Qwen3_5MoeConfig|Qwen3_5MoeModel|Mistral3Config|Mistral3Model|MTP)(?:\b|[A-Z])"
)


OF_TOWERS = {
    *("get_text_config", "image_token_id", "text_config", "num_channels", "patch_size"),
    *("standardize", "use_clipped_linears", "gradient_clipping"),
}


def source(model: str, kind: str) -> str:
    """transformers' own file of a model; Gemma 3's also has the model with images."""
    folder = str(fields_of(model)["model_type"]).removesuffix("_text")
    path = Path(transformers.__file__).parent / "models" / folder / f"{kind}_{folder}.py"
    classes = re.split(r"^(?=(?:@\S+\s+)*class )", path.read_text(), flags=re.M)
    return "".join(text for text in classes if not re.search(OTHERS, text, flags=re.M))


@pytest.mark.parametrize("model", MODELS)
def test_every_field_that_transformers_reads_is_declared(model: str) -> None:
    """So a field in no table changes nothing there, and may be passed over with a note."""
    fields = arch.of(Config(Path("config.json"), fields_of(model))).fields
    modeling = source(model, "modeling")
    read = set(re.findall(r"\bconfig\.(\w+)", modeling))
    read |= set(re.findall(r'getattr\((?:self\.)?config, "(\w+)"', modeling))
    declared = set(re.findall(r"^    (\w+): [^\n]*=", source(model, "configuration"), flags=re.M))
    assert len(read) > 10 and len(declared) > 10
    assert (read | declared) - OF_TOWERS - set(fields) == set()


@pytest.mark.parametrize("model", MODELS)
def test_every_field_of_every_config_class_is_declared(model: str, tmp_path: Path) -> None:
    """What transformers' base class has: a config that it wrote gives no note."""
    given = fields_of(model)
    (tmp_path / "config.json").write_text(json.dumps(given))
    transformers.AutoConfig.from_pretrained(tmp_path).to_json_file(
        tmp_path / "config.json", use_diff=False
    )
    config = Config.read(tmp_path)
    _, notes = arch.of(config).completed(config)
    assert [note for note in notes if "long factors" not in note] == []


PUBLISHED: dict[str, dict[str, Any]] = json.loads(
    (samples.ROOT / "tests/data/configs.json").read_text()
)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_configs(name: str) -> None:
    """Configs as their authors published them: nothing to say but of windows."""
    config = Config(Path("config.json"), PUBLISHED[name])
    _, notes = arch.of(config).completed(config)
    windows = {"Mistral-7B-v0.1": "sliding_window 4096", "Phi-3-mini-4k": "sliding_window 2047"}
    assert [note.split(" has no")[0] for note in notes] == [
        f"config.json: {text}" for model, text in windows.items() if model == name
    ]


ROPE_OF_128K = {
    "type": "longrope",
    "short_factor": [1 + i / 8 for i in range(6)],
    "long_factor": [2 + i / 4 for i in range(6)],
}


@pytest.mark.parametrize(
    ("model", "edits"),
    [
        ("llama", {"hidden_act": "gelu"}),
        ("qwen3_moe", {"norm_topk_prob": False}),
        ("llama", {"rope_scaling": ROPE_OF_128K}),
        ("qwen3", {"rope_scaling": {"type": "yarn", "factor": 2.0}, "rope_parameters": {"a": 1}}),
    ],
)
def test_what_no_converter_can_say(model: str, edits: dict[str, Any]) -> None:
    """Refused with llama.cpp's own converter as well, which passes over the fields."""
    config = Config(Path("config.json"), edited(fields_of(model), edits))
    with pytest.raises(errors.CheckpointError) as caught:
        arch.limits(config)
    assert "model.converter" not in str(caught.value)
