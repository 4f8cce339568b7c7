"""Kernels compute the same on every processor: no product is fused with a sum."""

from __future__ import annotations

import importlib
import pkgutil
import platform
import re
from typing import Any

import numba
import pytest

from qpipe.gguf import convert, quantize
from qpipe.gguf.quantizers import _kernels
from qpipe.gguf.quantizers._kernels import jit
from tests.gguf import samples

llvm: Any = importlib.import_module("llvmlite.binding")  # it has no types

KERNELS = [
    module.name
    for module in pkgutil.iter_modules(_kernels.__path__)
    if hasattr(importlib.import_module(f"{_kernels.__name__}.{module.name}"), "build")
]
# What lets a compiler change the last bits of a sum; and what does so by itself.
_FLAGS = re.compile(r"\bf(?:mul|add|sub|div|neg) (?:fast|contract|reassoc|arcp|nsz|afn)\b")
_FUSED = re.compile(r"llvm\.(?:fma|fmuladd)\b")


def test_all_kernels_are_looked_at() -> None:
    assert len(KERNELS) > 15 and {"q4_0", "q4_k", "through_f16", "lattice_q4_0"} <= {*KERNELS}


@pytest.mark.parametrize("name", KERNELS)
def test_no_part_of_a_kernel_may_be_contracted(name: str) -> None:
    """By the options with which it is compiled."""
    module = importlib.import_module(f"{_kernels.__name__}.{name}")
    parts = [part for part in vars(module).values() if hasattr(part, "targetoptions")]
    for part in (*parts, jit.inner(lambda x: x)):
        assert part.targetoptions["error_model"] == "numpy"
        assert not part.targetoptions.get("fastmath")


@pytest.mark.parametrize(
    "name", [pytest.param(k, marks=[] if k == "q4_1" else [pytest.mark.soak]) for k in KERNELS]
)
@pytest.mark.parametrize("weighted", [False, True])
def test_what_is_compiled_has_no_leave_to_fuse(name: str, weighted: bool) -> None:
    """LLVM fuses only what is marked, for any processor; see the next test."""
    if weighted and not re.fullmatch(r"q\d_k", name):
        pytest.skip("one for both")
    build = importlib.import_module(f"{_kernels.__name__}.{name}").build
    kernel = numba.njit(jit._SIGNATURE, nogil=True, error_model="numpy")(build("", weighted))
    (code,) = kernel.inspect_llvm().values()
    assert "fmul" in code or name == "through_f16"
    assert not _FLAGS.search(code) and not _FUSED.search(code)


@pytest.mark.parametrize(
    ("target", "features", "fused"),
    [
        ("aarch64-unknown-linux-gnu", "", r"\bfmadd\b"),
        ("x86_64-unknown-linux-gnu", "+fma", r"\bvfmadd"),
    ],
)
def test_llvm_fuses_nothing_that_is_not_marked(target: str, features: str, fused: str) -> None:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple(target).create_target_machine(opt=3, features=features)

    def assembly(flag: str) -> str:
        code = f"""
            define float @f(float %a, float %b, float %c) {{
              %product = fmul {flag} float %a, %b
              %sum = fadd {flag} float %product, %c
              ret float %sum
            }}"""
        return str(machine.emit_assembly(llvm.parse_assembly(code)))

    assert not re.search(fused, assembly(""))
    assert re.search(fused, assembly("contract"))


@pytest.mark.parametrize(
    ("machine", "ftype", "note"),
    [
        ("x86_64", "IQ4_NL", None),
        ("arm64", "Q4_K_M", None),
        ("arm64", "IQ4_NL", "IQ4_NL: quantized by ggml itself, whose bytes on arm64 may differ"),
    ],
)
def test_ggmls_own_code_is_named_where_it_may_differ(
    machine: str, ftype: str, note: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    source = convert.prepare(samples.MODELS["tinystories-d256"], outtype="F16")
    notes = [each for each in quantize.prepare(source, ftype).notes if "ggml itself" in each]
    assert [each.startswith(note or "") for each in notes] == [True] * (note is not None)
