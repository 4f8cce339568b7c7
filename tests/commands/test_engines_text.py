"""What is installed, by what is missing, in lines of at most a hundred columns."""

from __future__ import annotations

from typing import Any

import pytest

from qpipe.commands.engines_text import WIDTH, listing
from qpipe.machine import gpus
from qpipe.session import engines
from qpipe.session.engines import Inventory

PIP = "pip install 'qpipe[gptq]==0.1'"


def record(stage: str, problem: str | None = None, **chosen: str) -> dict[str, Any]:
    lacks = None if problem is None else engines._lacks(problem)
    tools = {chosen.get("engine", "gguf"): "1.0"}
    return {
        "stage": stage,
        "chosen_by": chosen,
        "tools": tools,
        "usable": problem is None,
        "problem": problem,
        "lacks": lacks,
    }


def shown(*records: dict[str, Any]) -> list[str]:
    return listing(Inventory(records, (), ())).splitlines()


def test_what_works_is_short_and_versions_stand_once() -> None:
    lines = shown(
        record("download"),
        record("lint"),
        record("quantize", method="gptq", engine="a"),
        record("quantize", method="gptq", engine="b"),
        record("quantize", method="gptq", engine="b"),  # in another way
        record("tokens", backend="transformers"),
    )
    assert lines == [
        "works here",
        "  download, lint",
        "  quantize  method=gptq  engine=a, engine=b",
        "  tokens                 backend=transformers",
        "  by a 1.0, b 1.0, gguf 1.0",
    ]


def test_what_is_missing_is_grouped_with_the_command_that_helps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gpus, "problem", lambda: "there is no NVIDIA device")
    lines = shown(
        record("quantize", f"g: g not installed: {PIP}", method="gptq", engine="g"),
        record("quantize", f"h: h, torch not installed: {PIP}", method="awq", engine="h"),
        record("quantize", "exl needs a GPU, and there is no NVIDIA device; do x", method="exl2"),
        record("quantize", "not installed: qpipe engines install old", method="old"),
        record("evaluate", "llama-perplexity is not on PATH: build it", metric="perplexity"),
        record("evaluate", "its check fails: Boom", metric="mine"),
    )
    assert lines[2:] == [
        "",
        "lacks an NVIDIA GPU",
        "  quantize exl2: exl needs a GPU, and there is no NVIDIA device; do x",
        "",
        "lacks its environment",
        "  quantize old: qpipe engines install old",
        "",
        "lacks packages",
        f"  quantize gptq g, quantize awq h: {PIP}",
        "",
        "lacks a program on PATH",
        "  evaluate perplexity: llama-perplexity is not on PATH: build it",
        "",
        "does not work here",
        "  evaluate mine: its check fails: Boom",
    ]


@pytest.mark.slow
def test_this_machine_fits() -> None:
    """But for the command that installs an extra, which is not broken."""
    lines = listing(engines.inventory()).splitlines()
    assert max(len(line) for line in lines if "pip install" not in line) <= WIDTH
    assert [name for name in ("works here", "lacks a program on PATH") if name in lines]
