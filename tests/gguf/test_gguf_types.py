"""Our tables against the gguf package's."""

from __future__ import annotations

import ctypes
from importlib.resources import files
from pathlib import Path

import gguf
import pytest

from qpipe import errors
from qpipe.gguf import ftypes, types, values
from qpipe.gguf.types import GGMLType


def test_types_are_those_of_the_gguf_package() -> None:
    theirs = {t.name: (int(t), *map(int, gguf.GGML_QUANT_SIZES[t])) for t in gguf.GGML_QUANT_SIZES}
    assert {kind.name: kind.value for kind in GGMLType} == theirs | {"Q2_0": (42, 64, 18)}


def test_types_are_those_of_ggml() -> None:
    """Of the llama.cpp that computes them, also where the gguf package lags behind."""
    library = ctypes.CDLL(str(next(Path(str(files("xllamacpp"))).glob("xllamacpp*.so"))))
    library.ggml_type_name.restype = ctypes.c_char_p
    library.ggml_blck_size.restype = ctypes.c_int64
    library.ggml_type_size.restype = ctypes.c_size_t
    for kind in set(GGMLType) - {GGMLType.Q8_1}:  # in no file; it has 36 bytes there
        assert library.ggml_type_name(kind.number).decode().upper() == kind.name
        theirs = library.ggml_blck_size(kind.number), library.ggml_type_size(kind.number)
        assert theirs == kind.value[1:], kind


def test_file_types_are_those_of_the_gguf_package() -> None:
    theirs = {
        kind.name.removeprefix("MOSTLY_").removeprefix("ALL_"): int(kind)
        for kind in gguf.LlamaFileType
        if kind is not gguf.LlamaFileType.GUESSED
    }
    assert theirs | {"Q2_0": 41} == ftypes.NUMBERS  # llama.h, LLAMA_FTYPE_MOSTLY_Q2_0


def test_value_types_are_those_of_the_gguf_package() -> None:
    theirs = {kind.name: int(kind) for kind in gguf.GGUFValueType}
    assert {kind.name: int(kind) for kind in values.ValueType} == theirs


def test_unknown_names_offer_near_ones() -> None:
    with pytest.raises(errors.RecipeError, match=r"'Q8' .*did you mean .*'Q8_0'"):
        ftypes.file_type("Q8")
    with pytest.raises(errors.RecipeError, match=r"here: 'Q4K' is no ggml .*'Q4_K'"):
        types.parse_type("Q4K", where="here")
    assert ftypes.name_of(15) == "Q4_K_M"
    assert ftypes.name_of(999) == "unknown (999)"
