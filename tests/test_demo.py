"""The demo and the contract of `qpipe run`, through the real command line, on few windows."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from qpipe.core.store import ArtifactStore
from tests.cli import environment, qpipe

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("demo")]

DEMO = ("demo", "evaluate.chunks=3")
LEVELS = ["F16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_0", "Q4_K_M", "Q4_0", "Q2_K"]


def run(cwd: Path, *arguments: str, code: int = 0) -> dict[str, Any]:
    answer = qpipe("run", *arguments, "--json", cwd=cwd)
    assert answer.code == code, answer
    document: dict[str, Any] = json.loads(answer.stdout)
    return document


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    cwd = tmp_path_factory.mktemp("demo")
    return cwd, run(cwd, *DEMO)


def test_the_sweep_shares_what_it_can(first: tuple[Path, dict[str, Any]]) -> None:
    _, document = first
    stages = [node["stage"] for node in document["nodes"]]
    assert document["status"] == "done"
    assert [stages.count(s) for s in ("download", "convert", "quantize", "evaluate")] == [
        2,
        1,
        8,
        9,
    ]
    status = {node["name"]: node["status"] for node in document["nodes"]}
    # F16 of an F16 reference is the reference: measured once.
    assert sorted(
        [
            status["perplexity[tinystories-d256 F16]"],
            status["perplexity_reference[tinystories-d256]"],
        ]
    ) == ["cached", "ran"]
    for node in document["nodes"]:
        assert {"name", "stage", "status", "seconds", "params", "engine", "inputs"} <= set(node)
        assert len(node["key"]) == 64
        assert Path(node["artifact"], "manifest.json").is_file()


def test_a_row_for_each_model_reference_first(first: tuple[Path, dict[str, Any]]) -> None:
    _, document = first
    rows = document["rows"]
    assert [row["format"] for row in rows] == LEVELS
    sizes = [row["size_bytes"] for row in rows]
    assert sizes == sorted(sizes, reverse=True)
    for row in rows:
        assert row["size_bytes"] == Path(row["file"]).stat().st_size
        assert row["ppl"] > 1
        assert row["protocol"] == "llamacpp-512 n_ctx=256 chunks=3"
    assert rows[0]["ppl_delta"] is None
    assert rows[7]["ppl_delta"] == pytest.approx(rows[7]["ppl"] - rows[0]["ppl"])


def test_the_report_is_written_in_every_form(first: tuple[Path, dict[str, Any]]) -> None:
    cwd, document = first
    folder = cwd / "outputs" / "runs" / document["run"]
    assert json.loads((folder / "report.json").read_text())["rows"] == document["rows"]
    with (folder / "report.csv").open(newline="") as file:
        assert [row["format"] for row in csv.DictReader(file)] == LEVELS
    table = (folder / "report.md").read_text()
    assert all(f"| {level} |" in table for level in LEVELS)


def test_a_second_run_is_all_cached(first: tuple[Path, dict[str, Any]]) -> None:
    cwd, before = first
    again = run(cwd, *DEMO)
    assert {node["status"] for node in again["nodes"]} == {"cached"}
    assert [row["ppl"] for row in again["rows"]] == [row["ppl"] for row in before["rows"]]
    assert {row["status"] for row in again["rows"]} == {"cached"}


def test_a_run_is_done_again_from_its_record(
    first: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """In another folder, with the store that it had; and with one level more."""
    cwd, before = first
    record = cwd / "outputs" / "runs" / before["run"]
    again = run(tmp_path, str(record), "--runs", str(tmp_path / "runs"))
    assert {node["status"] for node in again["nodes"]} == {"cached"}
    assert again["command"] == before["command"] and again["folder"] == before["folder"]
    assert [row["link"] for row in again["rows"]] == [
        str(tmp_path / "runs" / again["run"] / "models" / f"tinystories-d256-{level}.gguf")
        for level in LEVELS
    ]
    other = run(cwd, before["run"], "quantize.type=Q4_0")
    assert {row["format"] for row in other["rows"]} == {"F16", "Q4_0"}


def test_its_record_says_what_made_it(first: tuple[Path, dict[str, Any]]) -> None:
    _, document = first
    assert document["command"] == ["qpipe", "run", *DEMO]
    assert {"qpipe", "gguf", "numba", "xllamacpp"} <= document["tools"].keys()
    assert document["machine"]["cores"]
    (level,) = [
        node for node in document["nodes"] if node["name"] == "quantize[tinystories-d256 Q4_0]"
    ]
    assert level["params"]["type"] == "Q4_0"
    assert level["inputs"] == {"model": "download[tinystories-d256]"}


def test_another_level_costs_only_itself(first: tuple[Path, dict[str, Any]]) -> None:
    cwd, _ = first
    document = run(cwd, *DEMO, "-m", "quantize.type=Q8_0,Q4_1")
    ran = [node["name"] for node in document["nodes"] if node["status"] == "ran"]
    assert ran == ["quantize[tinystories-d256 Q4_1]", "perplexity[tinystories-d256 Q4_1]"]


def test_plan_and_explain_agree_with_run(first: tuple[Path, dict[str, Any]]) -> None:
    cwd, _ = first
    asked = ("-m", "quantize.type=Q8_0,Q5_1")
    plan = json.loads(qpipe("plan", *DEMO, *asked, "--json", cwd=cwd).stdout)
    states = {node["name"]: node["state"] for node in plan["nodes"]}
    assert (
        states["quantize[tinystories-d256 Q8_0]"]
        == states["perplexity[tinystories-d256 Q8_0]"]
        == "cached"
    )
    assert states["quantize[tinystories-d256 Q5_1]"] == "run"
    assert states["perplexity[tinystories-d256 Q5_1]"] == "unknown"
    explained = json.loads(qpipe("explain", *DEMO, *asked, "--json", cwd=cwd).stdout)
    (quantize,) = [
        node for node in explained["nodes"] if node["name"] == "quantize[tinystories-d256 Q5_1]"
    ]
    assert [d["field"] for d in quantize["differs"]] == ["params.type"]


def test_a_sweeper_plugin_drives_it(first: tuple[Path, dict[str, Any]]) -> None:
    cwd, before = first
    document = run(
        cwd, "local", "model.source=builtin:tinystories-d256", "evaluate.n_ctx=256",
        "evaluate.chunks=3", "-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=4",
        "hydra.sweeper.n_jobs=2", "hydra.sweeper.sampler.seed=1",
        "quantize.type=choice(Q8_0,Q4_0)",
    )  # fmt: skip
    known = {row["format"]: row["ppl"] for row in before["rows"]}
    assert document["status"] == "done"
    assert {row["format"] for row in document["rows"]} <= {"F16", "Q8_0", "Q4_0"}
    assert all(row["ppl"] == known[row["format"]] for row in document["rows"])


def test_an_interrupted_run_keeps_what_is_finished(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "qpipe", "run", "demo", "evaluate.chunks=20"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    store = ArtifactStore(tmp_path / "outputs" / "store")
    deadline = time.monotonic() + 60
    while len(list(store.all_keys())) < 4 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert "goes on from there" in errors
    kept = list(store.all_keys())
    assert len(kept) >= 4
    assert not list(store.paths.aside.iterdir())
    assert _workers_below(tmp_path) == []
    report = json.loads(qpipe("report", "latest", "--json", cwd=tmp_path).stdout)
    assert {row["status"] for row in report["rows"]} & {"ran", "waiting"}
    assert "interrupted" in qpipe("status", cwd=tmp_path).stdout
    document = run(tmp_path, "demo", "evaluate.chunks=20")
    made_before = [n for n in document["nodes"] if n["key"] in kept]
    assert {node["status"] for node in made_before} == {"cached"}


def test_a_killed_run_leaves_no_false_hit(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "qpipe", "run", *DEMO]
    for delay in (0.8, 1.6, 2.4):
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment(), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        time.sleep(delay)
        process.kill()
        process.wait()
    store = ArtifactStore(tmp_path / "outputs" / "store")
    assert all(store.verify(key) is None for key in store.all_keys())
    assert run(tmp_path, *DEMO)["status"] == "done"
    assert _workers_below(tmp_path) == []


def _workers_below(folder: Path) -> list[int]:
    """Living worker processes whose job lies below ``folder`` (Linux)."""
    time.sleep(0.5)
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().decode().split("\0")
        except OSError:
            continue
        if "qpipe.worker" in words and any(word.startswith(str(folder)) for word in words):
            found.append(int(entry.parent.name))
    return found
