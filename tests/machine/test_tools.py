"""Programs on PATH, of which real ones are written here: each prints what its original prints."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpipe.machine import tools


def program(folder: Path, name: str, script: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("name", "script", "version"),
    [
        ("llama-quantize", 'echo "main: build = 4589 (eb7cf15a)" >&2; test -f "$1" || exit 1',
         "4589 (eb7cf15a)"),
        ("llama-quantize", "echo 'version: 0.5.0-dev (build 1, commit 0c1e570)'; exit 1",
         "0.5.0-dev (build 1, commit 0c1e570)"),
        ("llama-perplexity", 'test "$1" = --version && echo "version: 4589 (eb7cf15a)" >&2',
         "4589 (eb7cf15a)"),
        ("nvcc", "echo 'Cuda compilation tools, release 12.4, V12.4.131'", "12.4"),
        ("llama-bench", "exit 1", ""),
        ("uv", "echo 'uv 0.4.18 (7b55e9790 2024-10-01)'", "0.4.18"),
    ],
)  # fmt: skip
def test_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, script: str, version: str
) -> None:
    path = program(tmp_path, name, script)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    tool = tools.find(name)
    assert (tool.path, tool.version, tool.problem) == (path, version, None)


def test_one_that_is_not_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    tool = tools.find("llama-quantize")
    assert (tool.path, tool.version) == (None, "missing")
    assert str(tool.problem).startswith("llama-quantize is not on PATH: build llama.cpp or install")


def test_one_that_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = program(tmp_path, "llama-perplexity", "echo 'cannot open shared object file'; exit 127")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    tool = tools.find("llama-perplexity")
    assert tool.version == "unknown"
    assert str(tool.problem).startswith(f"{path} does not run or prints no version: ")


def test_a_compiler_where_its_variable_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = program(tmp_path / "cuda" / "bin", "nvcc", "echo release 13.0,")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "cuda"))
    assert tools.locate("nvcc") == path
