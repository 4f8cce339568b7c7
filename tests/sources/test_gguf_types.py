"""Which file of a repository is the model of a type."""

from __future__ import annotations

import re

import pytest

from qpipe.errors import SourceError
from qpipe.sources import gguf_types, model_files


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        # Names of files on the hub, by different publishers.
        ("qwen2.5-7b-instruct-q4_k_m-00001-of-00002.gguf", "Q4_K_M"),
        ("qwen2.5-7b-instruct-fp16-00001-of-00004.gguf", "F16"),
        ("Meta-Llama-3.1-8B-Instruct-Q6_K_L.gguf", "Q6_K_L"),
        ("UD-Q4_K_XL/Qwen3-235B-A22B-UD-Q4_K_XL-00001-of-00003.gguf", "UD-Q4_K_XL"),
        ("BF16/Qwen3-8B-00001-of-00002.gguf", "BF16"),
        ("llama-2-7b-chat.Q2_K.gguf", "Q2_K"),
        ("gemma-3-4b-it.i1-IQ1_S.gguf", "IQ1_S"),
        ("Llama-3.2-1B-Instruct-Q4_0_4_4.gguf", "Q4_0_4_4"),
        ("gpt-oss-20b-mxfp4.gguf", "MXFP4"),
        ("Qwen3-30B-A3B-MXFP4_MOE.gguf", "MXFP4_MOE"),
        ("Qwen3-8B-IQ4_KSS.gguf", "IQ4_KSS"),
        ("a-Q8_0-then-Q4_K_S.gguf", "Q4_K_S"),
        ("bitnet-b1.58-TQ1_0.gguf", "TQ1_0"),
        ("ggml-model-f32.gguf", "F32"),
        ("model.gguf", None),
        ("Q4.gguf", None),
        ("FQ4_0x.gguf", None),
    ],
)
def test_the_type_in_a_name(name: str, kind: str | None) -> None:
    assert gguf_types.type_of(name) == kind


REPOSITORY = [
    "m-Q4_K_M.gguf", "m-UD-Q4_K_XL.gguf", "Q8_0/m-Q8_0-00001-of-00002.gguf",
    "Q8_0/m-Q8_0-00002-of-00002.gguf", "a-Q5_K_M.gguf", "b-Q5_K_M.gguf", "mmproj-m-F16.gguf",
    "imatrix-Q4_0.gguf", "mtp-m-Q6_K.gguf", "README.md",
]  # fmt: skip


def chosen(kind: str) -> str:
    return gguf_types.chosen("LABEL", "o/n", model_files.gguf_models(REPOSITORY), kind)


def test_one_model_has_it() -> None:
    assert chosen("Q4_K_M") == "m-Q4_K_M.gguf"
    assert chosen("UD-Q4_K_XL") == chosen("Q4_K_XL") == "m-UD-Q4_K_XL.gguf"
    assert chosen("Q8_0") == "Q8_0/m-Q8_0-00001-of-00002.gguf"


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("Q5_K_M", "2 of its models are Q5_K_M (a-Q5_K_M.gguf, b-Q5_K_M.gguf); name the file: "
                   "model.source=o/n/FILE"),
        ("F16", "no model of type F16, but Q4_K_M, Q5_K_M, Q8_0, UD-Q4_K_XL"),
        ("MXFP4", "but Q4_K_M"),
        ("Q4_K_N", "Q4_K_N (did you mean 'Q4_K_M'"),
    ],
)  # fmt: skip
def test_none_or_several_have_it(kind: str, words: str) -> None:
    with pytest.raises(SourceError, match=re.escape(words)):
        chosen(kind)


def test_a_repository_without_gguf() -> None:
    with pytest.raises(SourceError, match=r"no GGUF model.* model.source=o/n quantize.type=Q4_K_M"):
        gguf_types.chosen("LABEL", "o/n", {}, "UD-Q4_K_M")
