"""Names of exported files: read back by the convention, by the hub and by llama.cpp."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import gguf
import numpy as np
import pytest
import yaml

from qpipe.core.manifest import FileEntry, Manifest
from qpipe.core.store import Artifact
from qpipe.errors import UsageError
from qpipe.export.gguf_name import PATTERN, GgufName
from qpipe.export.model import ExportedModel
from qpipe.export.names import ExportName, export_names, part_name
from qpipe.gguf.ftypes import NUMBERS
from qpipe.results.comparison import ModelRow

RECIPES = Path(__file__).parents[2] / "recipes"
SHIPPED = [
    source
    for recipe in sorted(RECIPES.glob("*.yaml"))
    if (source := yaml.safe_load(recipe.read_text()).get("model", {}).get("source", "?")) != "???"
    and "/" in source
]
ODD = [
    "stories260K", "builtin:tinystories-d256", "模型", "Modèle-7B-à-l'œuvre", "my model.v2 (f)",
    "a.b.c", "...", "7B", "8x7B", "Qwen2.5-7B-Instruct-1M", "gemma-3n-E4B-it", "-", "a/b/c",
    "Phi-3-mini-128k-instruct", "x" * 300, "mtp-imatrix-mmproj", "mtp-Foo-1B", "bloom-7b1", "-LoRA",
    "Llama-4-Scout-17B-16E-Instruct", "tiny-random-ctx4k", "Mixtral-8x22B-v0.1-F16", "B-vocab",
    "DeepSeek-R1-Distill-Qwen-1.5B", "granite-4.0-h-micro", "m-v1-v2-3B-v0.3", "Llama_3_8B_Q4_K_M",
]  # fmt: skip

# huggingface.js, packages/tasks/src/gguf.ts (3a463ba): names of file types, then a word of letters;
# the last in a name counts.
HUB_TYPES = [
    "F32", "F16", "Q4_0", "Q4_1", "Q4_1_SOME_F16", "Q4_2", "Q4_3", "Q8_0", "Q5_0", "Q5_1", "Q2_K",
    "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M", "Q6_K", "IQ2_XXS",
    "IQ2_XS", "Q2_K_S", "IQ3_XS", "IQ3_XXS", "IQ1_S", "IQ4_NL", "IQ3_S", "IQ3_M", "IQ2_S", "IQ2_M",
    "IQ4_XS", "IQ1_M", "BF16", "Q4_0_4_4", "Q4_0_4_8", "Q4_0_8_8", "TQ1_0", "TQ2_0", "MXFP4_MOE",
    "NVFP4", "Q1_0", "Q2_0", "Q2_K_XL", "Q3_K_XL", "Q4_K_XL", "Q5_K_XL", "Q6_K_XL", "Q8_K_XL",
]  # fmt: skip
HUB = re.compile(rf"(?:UD-)?(?:{'|'.join(HUB_TYPES)})(?:_[A-Z]+)?")


def hub_label(file: str) -> str | None:
    labels = HUB.findall(file.upper())
    return labels[-1] if labels else None


def llama_cpp_finds(tag: str, files: Sequence[str]) -> str | None:
    """common/download.cpp, find_best_model: the first file that is a model and has the tag."""
    no_models = ("mmproj", "imatrix", "mtp-", "eagle3-", "dflash-", "dspark-")
    for file in files:
        if not any(word in file for word in no_models) and re.search(f"{tag}[.-]", file, re.I):
            return file
    return None


ModelOf = Callable[..., ExportedModel]


@pytest.fixture
def model_of(tmp_path: Path) -> ModelOf:
    """Make a model of a name in a format: a GGUF file with the metadata that a converter writes."""
    files: dict[str, Path] = {}

    def file_of(name: str) -> Path:
        if name not in files:
            files[name] = tmp_path / str(len(files)) / "model.gguf"
            files[name].parent.mkdir()
            writer = gguf.GGUFWriter(files[name], "llama")
            meta = gguf.Metadata.apply_metadata_heuristic(gguf.Metadata(), {}, {}, Path(name))
            meta.name = meta.name or name
            meta.set_gguf_meta_model(writer)
            writer.add_tensor("token_embd.weight", np.zeros((100, 1000), np.float32))
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
            writer.close()
        return files[name]

    def made(name: str, kind: str = "Q4_K_M", *, key: str = "0", **params: object) -> ExportedModel:
        file = file_of(name)
        manifest = Manifest(
            key=key * 64, id="", name="quantize", stage="quantize", version=1, params=params,  # type: ignore[arg-type]
            engine={}, inputs={}, files=[FileEntry(file.name, 1, "")], facts={},
        )  # fmt: skip
        row = ModelRow(name=kind, format=kind, status="ran", model=name, key=manifest.key)
        return ExportedModel(row, Artifact(file.parent, manifest), {})

    return made


def test_there_are_as_many_recipes_as_there_were() -> None:
    assert len(SHIPPED) >= 38


FORMATS = sorted(f"{kind}{word}" for kind in NUMBERS for word in ("", "_MIX", "_PURE"))


@pytest.mark.parametrize("name", SHIPPED + ODD)
def test_every_format_is_read_back(model_of: ModelOf, name: str) -> None:
    """Of every model in every format, in one file and in parts: the convention reads each part, the
    hub and llama.cpp the format."""
    (own,) = export_names([model_of(name)])
    files = [part_name(f"{own.model}-{kind}", 1, 1) for kind in FORMATS]
    for kind, whole in zip(FORMATS, files, strict=True):
        for file in (whole, part_name(f"{own.model}-{kind}", 2, 13)):
            parts = PATTERN.fullmatch(file)
            assert parts is not None, file
            assert parts["encoding"] == kind and parts["sidecar"] is parts["kind"] is None, file
            read = GgufName(parts["base"], parts["size"], parts["finetune"], parts["version"])
            assert read.stem == own.model, file
            assert parts["shard"] == (None if file == whole else "00002-of-00013")
            plain = re.sub("_(MIX|PURE)$", "", kind)
            assert hub_label(file) in (kind, plain), file
            assert len(file.encode()) < 255
        assert llama_cpp_finds(kind, [whole]) == whole
        if not any(other.endswith(kind) for other in FORMATS if other != kind):  # F16, BF16
            assert llama_cpp_finds(kind, files) == whole


def test_formats_say_what_is_mixed(model_of: ModelOf) -> None:
    for params, word in (
        ({}, ""), ({"pure": True}, "_PURE"), ({"tensor_types": [["a", "F16"]]}, "_MIX"),
        ({"like_digest": "a"}, "_MIX"), ({"output_tensor_type": "Q8_0", "pure": True}, "_MIX_PURE"),
    ):  # fmt: skip
        (own,) = export_names([model_of("x-1B", **params)])
        assert own.format == f"Q4_K_M{word}"
        assert str(hub_label(part_name(own.stem, 1, 1))).startswith("Q4_K_M")


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("Qwen/Qwen2.5-7B-Instruct", "Qwen2-5-7B-Instruct-v1.0"),
        ("meta-llama/Llama-3.2-1B", "Llama-3-2-1B-v1.0"),
        ("Qwen/Qwen3-30B-A3B", "Qwen3-30B-A3B-v1.0"),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", "Mixtral-8x7B-Instruct-v0.1"),
        ("google/gemma-3n-E4B-it", "gemma-100K-3n-E4B-it-v1.0"),
        ("stories260K", "stories260K-100K-v1.0"),
        ("Modèle 7", "Modele-100K-v7"),
        ("模型", "model-100K-v1.0"),
        ("m-F16", "m-100K-v1.0"),
        ("unsloth/gpt-oss-20b-BF16", "gpt-oss-20B-v1.0"),
        ("org/Foo-1B-Instruct-bf16", "Foo-1B-Instruct-v1.0"),
        ("BF16", "BF16-100K-v1.0"),
    ],
)
def test_names_that_people_read(model_of: ModelOf, name: str, stem: str) -> None:
    (own,) = export_names([model_of(name)])
    assert own == ExportName(stem, "Q4_K_M")
    assert own.mmproj("f16") == f"mmproj-{stem}-F16.gguf"
    parts = PATTERN.fullmatch(own.mmproj("f16"))
    assert parts is not None and (parts["sidecar"], parts["encoding"]) == ("mmproj", "F16")


def test_parts_of_a_name_are_read_as_they_were_given() -> None:
    """Words that look like another part of the name."""
    given = [
        ("gemma-3n", "4B", "it-2x4B", "3"),
        ("A-1-2b", "8x7B", "v2", "v0.3"),
        ("x", "7B", "ctx4k-chat", None),
        ("x", "30B-A3B", "A3B-chat", "2507"),
        ("x", "7B-1M", None, "final"),
        ("é", "1.5B", "ü.ö", "1.2.3"),
    ]
    for parts in given:
        own = GgufName.of(*parts)
        read = PATTERN.fullmatch(f"{own.stem}-Q8_0.gguf")
        assert read is not None, own
        assert GgufName(read["base"], read["size"], read["finetune"], read["version"]) == own
    with pytest.raises(ValueError, match="'huge' is no size"):
        GgufName.of("x", "huge")


def test_what_would_clash_is_told_apart(model_of: ModelOf) -> None:
    """Two models that no ASCII tells apart, and one model in a format twice."""
    names = export_names(
        [model_of("模型", key="a"), model_of("모델", key="b"), model_of("x-1B", key="c")]
    )
    assert [each.format for each in names] == ["Q4_K_M_AAAAAAAA", "Q4_K_M_BBBBBBBB", "Q4_K_M"]
    for each in names:
        file = part_name(each.stem, 1, 1)
        assert PATTERN.fullmatch(file) and str(hub_label(file)).startswith("Q4_K_M")
    twice = export_names([model_of("x-1B", key="a"), model_of("x-1B", key="b")])
    assert twice == list(
        reversed(export_names([model_of("x-1B", key="b"), model_of("x-1B", key="a")]))
    )


def test_a_name_of_ones_own(model_of: ModelOf) -> None:
    own = [model_of("x-1B", "Q4_K_M"), model_of("x-1B", "Q8_0", key="1")]
    names = export_names(own, "Qwen2.5-7B-Instruct")
    assert [each.stem for each in names] == [
        "Qwen2.5-7B-Instruct-Q4_K_M", "Qwen2.5-7B-Instruct-Q8_0",
    ]  # fmt: skip
    with pytest.raises(UsageError, match=r"--name n: one name for 2 models \(x-1B, y\)"):
        export_names([*own, model_of("y")], "n")
    for bad in ("a/b", "", "..", "my model", "a" * 200):
        with pytest.raises(UsageError, match="a file's name has letters"):
            export_names(own, bad)


def test_folders_of_checkpoints(model_of: ModelOf, tmp_path: Path) -> None:
    model = model_of("Qwen/Qwen3-0.6B", "GPTQ-4bit-g128")
    (model.artifact.path / "model.gguf").rename(model.artifact.path / "x.safetensors")
    files = [FileEntry("x.safetensors", 1, "")]
    manifest = Manifest(**{**vars(model.manifest), "files": files})
    checkpoint = ExportedModel(model.row, Artifact(model.artifact.path, manifest), {})
    assert [each.stem for each in export_names([checkpoint])] == ["Qwen3-0.6B-GPTQ-4bit-g128"]
