"""Which files of a folder or repository are one model, and what is said of those that are none."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from qpipe.errors import SourceError
from qpipe.sources.model_files import passed_over, selected_files

ALONG = ("config.json", "tokenizer.json")
ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
INDEX = "model.safetensors.index.json"


def choose(*names: str, index: Mapping[str, str] | None = None) -> list[str]:
    given = [*names, *([INDEX] if index else [])]
    return selected_files("LABEL", given, lambda name: json.dumps({"weight_map": index}).encode())


def test_other_layouts_and_adapters_are_left() -> None:
    beside = ("pytorch_model.bin.index.json", "trainer_state.json", "flax_model.msgpack",
              "model.gguf", "original/params.json", "onnx/config.json", "tf_model.h5",
              "consolidated.safetensors", "consolidated.safetensors.index.json",
              "adapter_model.safetensors", "adapter_config.json", "pytorch_model.bin",
              "manifest.json", ".gitattributes", "picture.png")  # fmt: skip
    assert choose(*ALONG, "model.safetensors", *beside) == sorted([*ALONG, "model.safetensors"])


def test_the_index_says_which_parts_count() -> None:
    old = "model-00001-of-00003.safetensors"
    assert choose(*ALONG, ONE, TWO, old, index={"a": ONE, "b": TWO}) == [
        "config.json", ONE, TWO, INDEX, "tokenizer.json",
    ]  # fmt: skip
    single = "model.safetensors"
    config = "config.json"
    assert choose(config, ONE, TWO, single, index={"a": single}) == [config, single, INDEX]


def test_weights_that_are_left_are_told() -> None:
    old = "model-00001-of-00003.safetensors"
    names = [ONE, TWO, old, "adapter_model.safetensors", "consolidated.safetensors", "m.gguf",
             "mmproj.gguf"]  # fmt: skip
    (note,) = passed_over("LABEL", names, [ONE, TWO])
    assert (
        note
        == f"LABEL: left out, as no part of the model: adapter_model.safetensors, m.gguf, {old}"
    )
    assert passed_over("LABEL", [ONE, TWO, "consolidated.safetensors"], [ONE, TWO]) == []


@pytest.mark.parametrize(
    ("names", "index"),
    [
        (("model.safetensors", ONE, TWO), None),
        (("model.safetensors", ONE, TWO), {"a": ONE, "b": TWO}),
        ((ONE, TWO, "model-00001-of-00003.safetensors"), None),
        (("model.safetensors", "model.fp16.safetensors"), None),
        ((ONE, TWO, ONE.replace("model", "model.fp16"), TWO.replace("model", "model.fp16")), None),
    ],
)
def test_two_sets_of_weights_are_refused(names: tuple[str, ...], index: dict[str, str]) -> None:
    with pytest.raises(SourceError, match=r"LABEL: holds two sets of weights, .* out of date"):
        choose(*ALONG, *names, index=index)


def test_two_indexes_are_refused() -> None:
    other = "model.safetensors.index.fp16.json"
    with pytest.raises(SourceError, match=f"two indexes of weights, {INDEX} and {other}"):
        choose(*ALONG, ONE, TWO, other, index={"a": ONE, "b": TWO})


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ("model.safetensors", ["model.safetensors"]),
        (ONE, [ONE, TWO]),
        (TWO, [ONE, TWO]),
        (INDEX, [ONE, TWO, INDEX]),
        ("model.fp16.safetensors", ["model.fp16.safetensors"]),
    ],
)
def test_one_of_several_sets_is_named(weights: str, expected: list[str]) -> None:
    names = [*ALONG, ONE, TWO, "model.safetensors", "model.fp16.safetensors", INDEX]

    def read(name: str) -> bytes:
        return json.dumps({"weight_map": {"a": ONE, "b": TWO}}).encode()

    chosen = selected_files("LABEL", names, read, weights=weights)
    assert chosen == sorted([*ALONG, *expected])


def test_weights_alone_are_no_model() -> None:
    with pytest.raises(SourceError, match=r"LABEL: model.safetensors has no config.json beside it"):
        selected_files(
            "LABEL", ["model.safetensors"], lambda name: b"", weights="model.safetensors"
        )


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("pytorch_model.bin",), "set model.allow_pickle=true"),
        (("adapter_model.safetensors", "adapter_config.json"), "merge_and_unload"),
        (("consolidated.safetensors",), "model\\*.safetensors, as its repository"),
        (("tf_model.h5",), "PyTorch version"),
        (("weights.npz",), "MLX's weights"),
        (("onnx/model.onnx",), "a model as ONNX"),
        (("modules.json",), "sentence-transformers"),
        (("model.safetensors.index.json",), "none of the files that it names"),
        (("training_args.bin", "optimizer.pt"), "holds no weights"),
        ((), "holds no weights: no model.safetensors"),
    ],
)
def test_what_is_there_instead_of_weights(names: tuple[str, ...], words: str) -> None:
    with pytest.raises(SourceError, match=f"LABEL: .*{words}"):
        choose(*ALONG, *names)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ((), "is empty"),
        (("tokenizer.json", "tokenizer_config.json"), "a tokenizer alone"),
        (("model_index.json",), "a pipeline of diffusers"),
        (("sha256-" + "0a" * 32,), "ollama show --modelfile"),
    ],
)
def test_folders_of_something_else(names: tuple[str, ...], words: str) -> None:
    with pytest.raises(SourceError, match=f"LABEL: .*{words}"):
        choose(*names)


def test_a_folder_of_a_gguf_model() -> None:
    assert choose("m.gguf", "mmproj-f16.gguf", "README.md") == ["m.gguf"]
    parts = ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"]
    assert choose(*parts, "imatrix.gguf") == parts
    with pytest.raises(SourceError, match=r"2 GGUF models \(a\.gguf, b\.gguf\); give the file"):
        choose("a.gguf", "b.gguf")
    names = ["m-Q4_K_M.gguf", "m-UD-Q8_K_XL.gguf"]
    with pytest.raises(SourceError, match=r"\(Q4_K_M, UD-Q8_K_XL\); name a type, as .*=a/b:Q4_K_M"):
        selected_files("LABEL", names, lambda name: b"", repo="a/b")
    with pytest.raises(SourceError, match=r"m-00001-of-00002\.gguf is missing"):
        choose(parts[1])


def test_a_broken_index_is_left_to_whoever_reads_it() -> None:
    names = [*ALONG, "model.safetensors", INDEX]
    for text in (b"{", b"[]", b"{}"):
        given = text

        def read(name: str) -> bytes:
            return given  # noqa: B023  called at once

        assert selected_files("LABEL", names, read) == sorted(names)
