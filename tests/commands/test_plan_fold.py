"""A plan fits one screen: equal lines folded, sizes by level and model, sums at the end."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from qpipe.commands import plan_fold
from qpipe.errors import OutOfSpaceError, RecipeError
from qpipe.results.preview import Preview
from qpipe.session.forecasts import RunPlan
from qpipe.session.planned import PlannedNode
from qpipe.session.totals import totals
from tests.cli import called

ROOT = Path(__file__).parents[2]
LEVELS = ("Q8_0", "Q6_K", "Q5_K_M", "Q5_0", "Q4_K_M", "Q4_0", "Q3_K_M", "Q2_K")
MODELS = ("llama-3.2-1b-instruct", "qwen2.5-0.5b-instruct", "smollm2-360m-instruct")


def node(name: str, stage: str = "", **fields: Any) -> PlannedNode:
    fields = {"state": "unknown", "why": "unknown until x has run", **fields}
    return PlannedNode(name=name, stage=stage or name.split("[")[0], id=name, **fields)


def model(name: str, size: int, **more: Any) -> PlannedNode:
    facts = {"format": "Q4_0", "size_bytes": size, "bits_per_weight": 4.5, **more}
    return node(name, "quantize", preview=Preview(facts, {}), facts=facts)


def planned(nodes: list[PlannedNode], store: Path, **more: Any) -> RunPlan:
    return RunPlan(nodes, totals(nodes, store), **more)


def shown(plan: RunPlan) -> list[str]:
    return list(plan_fold.lines(plan))


def sweep() -> list[PlannedNode]:
    nodes = [node("text:builtin:texts/tinystories_lower_heldout.txt", "download", state="run")]
    for name in MODELS:
        nodes += [node(f"{stage}[{name}]") for stage in ("convert", "tokens", "kld_reference")]
        nodes.append(node(f"download[{name}]", state="run", source_kind="local"))
        for level in LEVELS:
            nodes.append(model(f"quantize[{name} {level}]", 1 << 20))
            nodes.append(node(f"kld[{name} {level}]", "evaluate"))
    return nodes


def test_three_models_of_eight_levels_fit_a_screen(tmp_path: Path) -> None:
    lines = shown(planned(sweep(), tmp_path))
    noted = [model(n.name, 9, notes=[n.name * 9]) if n.preview else n for n in sweep()]
    assert len(shown(planned(noted, tmp_path, seconds={"kld": 9.0}))) <= 24
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    (line,) = (line for line in lines if "quantize ×24" in line)
    assert line.startswith("? unknown  24.0 MiB  quantize ×24: llama-3.2-1b-instruct, qwen2.5-0.5b")
    (head,) = (line for line in lines if line.startswith("     "))
    assert head.split() == list(MODELS)
    assert [line.split() for line in lines if line.startswith("Q4_K_M")] == [
        ["Q4_K_M", *["1.00", "MiB"] * 3]
    ]
    assert "61 nodes: 0 cached, 4 to run, 57 unknown until their inputs are made" in lines


def test_what_differs_is_not_folded(tmp_path: Path) -> None:
    nodes = [
        node("kld[Q8_0]", "evaluate", state="cached", why="in the store"),
        node("kld[Q6_K]", "evaluate"),
        node("kld[Q4_0]", "evaluate", made_before=True),
        node("kld[Q4_1]", "evaluate", made_before=True),
        node("kld[Q2_K]", "evaluate", state="run", why="damaged in the store, made again: x"),
    ]
    assert shown(planned(nodes, tmp_path))[:4] == [
        "✓ cached   kld: Q8_0",
        "? unknown  kld: Q6_K",
        "? unknown  kld ×2: in the store if its inputs come out as before; Q4_0, Q4_1",
        "● run      kld: damaged in the store, made again: x; Q2_K",
    ]


@pytest.mark.parametrize(
    ("labels", "short"),
    [
        ((), ""),
        (("Q8_0",), "Q8_0"),
        (("Q8_0", "Q4_0"), "Q8_0, Q4_0"),
        (("a Q8_0", "a Q4_0", "b Q8_0", "b Q4_0"), "a, b × Q8_0, Q4_0"),
        (("a Q8_0", "a Q4_0", "b Q8_0"), "a Q8_0, a Q4_0, b Q8_0"),
        (("a Q8_0", "a Q8_0"), "a Q8_0, a Q8_0"),
        (("a b c", "a d"), "a b c, a d"),
    ],
)
def test_labels_in_short(labels: tuple[str, ...], short: str) -> None:
    assert plan_fold.factored(labels) == short


def test_equal_errors_are_one_line(tmp_path: Path) -> None:
    error = RecipeError("rows of 64")
    nodes = [node(f"quantize[{level}]", error=error) for level in ("Q4_K", "Q6_K")]
    nodes += [node("kld", error=RecipeError("no text"))]
    lines = shown(planned(nodes, tmp_path))
    assert "quantize[Q4_K and Q6_K] would fail: rows of 64" in lines
    assert "kld would fail: no text" in lines


def test_notes_are_counted_where_they_are_many(tmp_path: Path) -> None:
    nodes = [model(f"quantize[{n}]", 9, notes=[f"{n} is so"], fallback="x") for n in LEVELS[:3]]
    lines = shown(planned(nodes, tmp_path))
    assert "note: quantize[Q8_0]: Q8_0 is so and 2 more: --all" in lines
    assert [line.split()[1:3] for line in lines if line.startswith("Q8_0")] == [["9", "B!"]]
    assert any(line.startswith("!: ") for line in lines)


def test_unknown_and_estimated_sizes_are_said(tmp_path: Path) -> None:
    about = Preview({"format": "Q4_0", "size_bytes": 5 << 20}, {}, about=True)
    nodes = [node("quantize[a]", preview=about, facts=about.facts), node("quantize[b]")]
    lines = shown(planned(nodes, tmp_path))
    assert "results:  at least 5.00 MiB in 2 models, without 1 of unknown size" in lines
    assert "? unknown  ~5.00 MiB  quantize ×2: a, b" in lines


def test_a_disk_that_is_too_small_is_foreseen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = os.statvfs_result([4096, 4096, 100, 100, 100, 0, 0, 0, 0, 255])
    monkeypatch.setattr(os, "statvfs", lambda path: few)
    answer = called("plan", "demo", "--json", cwd=tmp_path)
    assert answer.code == OutOfSpaceError.exit_code
    free = json.loads(answer.stdout)["totals"]["free"]
    assert free == 100 * 4096
    said = called("plan", "demo", cwd=tmp_path)
    assert said.code == OutOfSpaceError.exit_code
    assert "\nwould fail: the run would write 29.2 MiB, and the file system of the" in said.stdout
    monkeypatch.undo()
    assert called("plan", "demo", cwd=tmp_path).code == 0


def test_the_demo_folds_and_unfolds(tmp_path: Path) -> None:
    folded = called("plan", "demo", cwd=tmp_path).stdout.splitlines()
    assert len(folded) <= 24
    assert max(map(len, folded)) <= 80
    whole = called("plan", "demo", "-v", cwd=tmp_path).stdout
    assert whole.count("perplexity[") == 8
    assert "\n  Q6_K  token_embd.weight" in whole
    assert "\nresults:  22.7 MiB in 8 models\n" in called("plan", "demo", cwd=tmp_path).stdout


@pytest.mark.parametrize(
    ("words", "made"),
    [
        ((), "convert: tinystories-d256; for the reference alone"),
        (("imatrix=calibrated",), "convert: tinystories-d256"),
        (("quantize=gptq",), "checkpoint: tinystories-d256"),
        (("evaluate=none",), None),
    ],
)
def test_a_file_that_only_the_reference_needs(
    tmp_path: Path, words: tuple[str, ...], made: str | None
) -> None:
    asked = ("plan", "local", "model.source=builtin:tinystories-d256", *words)
    lines = called(*asked, cwd=tmp_path).stdout.splitlines()
    found = [line for line in lines if "convert: " in line or "checkpoint: " in line]
    assert [line.split("  ")[-1].strip() for line in found] == ([] if made is None else [made])
