"""What a name promises and a file does not hold: the note, and the refusal with its remedy."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from qpipe.gguf.convert import prepare
from qpipe.gguf.file_plan import FilePlan
from qpipe.gguf.ftypes import file_type
from qpipe.gguf.inspect import inspect
from qpipe.gguf.mixture import TypeRequest
from qpipe.gguf.quantize import prepare as prepare_level
from qpipe.gguf.quantize import shortfall_ahead
from qpipe.gguf.shortfall import Fallback, Shortfall
from qpipe.gguf.types import GGMLType
from tests.gguf import samples

ROWS = "35 have rows of 64 or 172 weights, no multiple of 256"


@pytest.fixture(scope="module")
def narrow() -> FilePlan:
    """Rows of 64 and 172 weights."""
    return prepare(samples.MODELS["stories260K"], outtype="F16")


@pytest.fixture(scope="module")
def wide() -> FilePlan:
    """Rows of 256 and 512 weights, no experts."""
    return prepare(samples.MODELS["tinystories-d256"], outtype="F16")


@pytest.mark.parametrize(
    ("level", "note"),
    [
        ("IQ2_M", f"0 of 36 matrices are IQ2 (30 are IQ4_NL, 5 F16, 1 Q8_0); {ROWS}"),
        ("IQ4_XS", f"0 of 36 matrices are IQ4_XS (30 are IQ4_NL, 5 F16, 1 Q8_0); {ROWS}"),
        (
            "Q8_0",
            "31 of 36 matrices are Q8_0 (5 are F16); 5 have rows of 172 weights, no multiple of 32",
        ),
        (
            "MXFP4_MOE",
            "0 of 36 matrices are MXFP4 (31 are Q8_0, 5 F16), for the model has no experts; "
            "5 have rows of 172 weights, no multiple of 32",
        ),
    ],
)
def test_narrow_rows(narrow: FilePlan, level: str, note: str) -> None:
    made = prepare_level(narrow, level)
    assert made.notes == (f"{level}: {note}",)
    ahead = shortfall_ahead(narrow, TypeRequest.of(level))
    assert ahead is not None
    assert ahead.note() == f"{level}: {note}"


@pytest.mark.parametrize("level", ["Q4_K_M", "Q3_K_L", "Q2_K", "IQ4_XS", "Q4_0", "Q8_0", "F16"])
def test_nothing_is_said_of_a_level_that_is_what_its_name_says(wide: FilePlan, level: str) -> None:
    assert prepare_level(wide, level).shortfall is None


def test_a_level_for_experts_of_a_model_without(wide: FilePlan, tmp_path: Path) -> None:
    note = "MXFP4_MOE: 0 of 29 matrices are MXFP4 (29 are Q8_0), for the model has no experts"
    made = prepare_level(wide, "MXFP4_MOE")
    assert made.notes == (note,)
    made.write(tmp_path / "model.gguf")
    assert inspect(tmp_path / "model.gguf")["notes"] == [note]


def test_types_that_a_recipe_chose_are_no_shortfall(wide: FilePlan) -> None:
    every = TypeRequest.of("Q4_K_M", tensor_types={".": "Q8_0"})
    assert prepare_level(wide, every).shortfall is None


def test_the_refusal_names_matrices_rows_and_types_and_its_remedy_works(narrow: FilePlan) -> None:
    shortfall = prepare_level(narrow, "IQ4_XS").shortfall
    assert shortfall is not None
    words = shortfall.refusal()
    assert words.startswith("quantize.fallback is refuse, and 35 of 36 matrices cannot be of the ")
    fitting = {
        row: (names, types.split(", "))
        for row, names, types in re.findall(r"rows of (\d+) weights \((.+?)\) fit ([\w, ]+)", words)
    }
    assert fitting["172"] == ("blk.{0-4}.ffn_down.weight", ["F16", "BF16", "F32"])
    assert fitting["64"][0].startswith("blk.{0-4}.attn_k.weight, blk.{0-4}.attn_output.weight, ")
    assert {"Q4_0", "IQ4_NL", "Q8_0"} < set(fitting["64"][1])
    for kind in fitting["64"][1]:
        rules = {"blk": kind, "ffn_down": fitting["172"][1][0]}
        assert prepare_level(narrow, TypeRequest.of("IQ4_XS", tensor_types=rules)).shortfall is None


def test_rows_of_896_hold_k_types_in_one_matrix_of_seven() -> None:
    """Qwen2.5-0.5B: only ffn_down has rows of 4864, a multiple of 256."""
    parts = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up")
    names = [f"blk.{layer}.{part}.weight" for layer in range(24) for part in parts]
    types = dict.fromkeys(names, GGMLType.IQ4_NL) | {
        f"blk.{layer}.ffn_down.weight": GGMLType.IQ2_S for layer in range(24)
    }
    fallbacks = tuple(Fallback(name, 896, GGMLType.IQ2_S, GGMLType.IQ4_NL) for name in names)
    shortfall = Shortfall.of(file_type("IQ2_M"), types, fallbacks)
    assert shortfall is not None
    assert shortfall.note() == (
        "IQ2_M: 24 of 168 matrices are IQ2 (144 are IQ4_NL); "
        "144 have rows of 896 weights, no multiple of 256"
    )
