"""The wheel is the one whose structs we know, and everything else is refused."""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from qpipe.errors import EngineMissingError
from qpipe.llamacpp import c_api, library

PIP = "pip install --force-reinstall xllamacpp==2026.10.11549"


def test_the_installed_wheel_passes_every_check() -> None:
    loaded = library.load()
    assert loaded.c.llama_version() == b"0.6.0-dev"
    assert library.load() is loaded


# sizeof and offsetof as gcc prints them for the llama.h of the wheel's source distribution.
@pytest.mark.parametrize(
    ("struct", "size", "offsets"),
    [
        (c_api.ModelParams, 80, {"main_gpu": 32, "tensor_split": 40, "vocab_only": 72}),
        (
            c_api.ContextParams,
            168,
            {"flash_attn_type": 52, "cb_eval": 88, "type_k": 104, "moe_cache_size": 112,
             "embeddings": 136, "kv_unified": 141, "samplers": 144, "ctx_other": 160},
        ),
        (c_api.BatchStruct, 56, {"logits": 48}),
    ],
)  # fmt: skip
def test_layouts_are_the_compilers(
    struct: type[ctypes.Structure], size: int, offsets: dict[str, int]
) -> None:
    assert ctypes.sizeof(struct) == size
    assert {name: getattr(struct, name).offset for name in offsets} == offsets


def test_another_version_of_the_wheel_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2027.1.1")
    with pytest.raises(EngineMissingError, match=r"2027\.1\.1 is installed.*2026\.10\.11549") as e:
        library.find()
    assert PIP in str(e.value)


def test_a_missing_wheel_is_refused_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EngineMissingError, match="xllamacpp is not installed") as caught:
        library.find()
    assert PIP in str(caught.value)
    assert caught.value.exit_code == 3


def test_windows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(EngineMissingError, match="on Windows"):
        library.find()


def test_another_llama_cpp_under_the_same_wheel_number_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(library, "LLAMA_VERSION", "0.5.0-dev")
    with pytest.raises(EngineMissingError, match=r"0\.5\.0-dev and holds 0\.6\.0-dev"):
        library.check(library.load().c)


def test_a_struct_that_reads_other_defaults_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The layout of llama-cpp-python 0.3.36, which lacks one field in the middle."""

    class Shorter(ctypes.Structure):
        _fields_ = [
            field for field in c_api.ContextParams._fields_ if field[0] != "moe_cache_size"
        ] + [("room", ctypes.c_uint8 * 64)]

    class Params:
        llama_version = library.load().c.llama_version
        llama_model_default_params = library.load().c.llama_model_default_params

        @staticmethod
        def llama_context_default_params() -> ctypes.Structure:
            read = library.load().c.llama_context_default_params()
            return Shorter.from_buffer_copy(bytes(read) + bytes(64))

    with pytest.raises(EngineMissingError, match=r"llama_context_params.*offload_kqv is 0, not"):
        library.check(Params)  # type: ignore[arg-type]


def test_a_library_without_the_functions_is_refused() -> None:
    with pytest.raises(EngineMissingError, match="does not export llama_version"):
        library.bind(ctypes.CDLL(None), Path("some.so"))


def test_loading_neither_imports_numpy_nor_lets_openmp_spin() -> None:
    code = (
        "import os, sys; from qpipe.llamacpp.library import load; load(); "
        "print(os.environ['OMP_WAIT_POLICY'], 'numpy' in sys.modules, 'xllamacpp' in sys.modules)"
    )
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["passive", "False", "False"]
    assert done.stderr == ""


def test_its_log_stays_off_stderr(gguf_of: Callable[[str, str], Path]) -> None:
    code = (
        "import sys; from pathlib import Path; from qpipe.llamacpp.model import Model; "
        "Model(Path(sys.argv[1])).close()"
    )
    path = gguf_of("stories260K", "F32")
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=True
    )
    assert done.stdout + done.stderr == ""
